"""Empirical Bayes few-shot learning with synthetic gradients.

Usage:
    from pyro_sib import FewShotClassifier
    learner = FewShotClassifier.load("learner.safetensors")
    result = learner.predict({"heron": ["h1.jpg", "h2.jpg"], "ibis": ["i1.jpg"]}, queries=["a.jpg", "b.jpg"])
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyro_sib.errors import InputError
    from pyro_sib.inference.classifier import FewShotClassifier
    from pyro_sib.inference.fit_learner import FitSettings
    from pyro_sib.inference.sklearn_estimator import FewShotEstimator as FewShotEstimator
    from pyro_sib.inference.task_result import Prediction

__all__ = ["FewShotClassifier", "FitSettings", "InputError", "Prediction"]
# FewShotEstimator is there too, and left out here since it needs scikit-learn, which is optional.

_ROOT = Path(__file__).parent.parent
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "models").is_dir():
    # In a checkout the layers lie beside this folder; the links in it are for type checkers, and some systems have
    # no links.
    __path__.append(str(_ROOT))

_HOMES = {
    "FewShotClassifier": "pyro_sib.inference.classifier",
    "FewShotEstimator": "pyro_sib.inference.sklearn_estimator",
    "FitSettings": "pyro_sib.inference.fit_learner",
    "InputError": "pyro_sib.errors",
    "Prediction": "pyro_sib.inference.task_result",
}


def __getattr__(name: str) -> object:
    """The public names, imported when they are first asked for, so that the layers below stay free of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "sklearn":
            raise
        raise ImportError(
            f"{name} needs scikit-learn, which is not installed; install pyro-sib[scikit-learn]"
        ) from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
