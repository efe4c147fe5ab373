"""The few-shot classifier as a scikit-learn estimator; the one file that imports scikit-learn."""

from os import PathLike
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from pyro_sib.errors import InputError
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.learner_file import TrainedLearner
from pyro_sib.inference.program import build_program
from pyro_sib.inference.settings import LearnerSettings
from pyro_sib.inference.settings.card import LearnerCard, TaskSettings
from pyro_sib.inference.settings.training import TrainSettings


class FewShotEstimator(ClassifierMixin, BaseEstimator):
    """A trained learner with scikit-learn's methods: labeled examples in `fit`, queries in `predict_proba`.

    Where the learner uses the unlabeled queries, as SIB's steps do, those of one call are judged together: the
    probabilities of a row depend on the other rows of the call, which scikit-learn's other classifiers do not do.
    Cross-validation and pipelines work all the same; methods that ask for rows one at a time lose what the
    unlabeled rows would have told.

    Usage:
        from pyro_sib.inference.sklearn_estimator import FewShotEstimator
        model = FewShotEstimator("learner.safetensors").fit(X, y)
        model.predict_proba(X_new)

    Args:
        learner: a FewShotClassifier, or the path of a learner's file. Without one, an untrained learner of features
            serves, whose classifier is the cosine to the class means.
        draws: posterior draws that a prediction averages; the learner's own number, unless given.
        seed: of the draws.

    Attributes:
        classes_: (C,) the labels, sorted.
        n_features_in_: number of features, where X is a table of them.
    """

    def __init__(
        self,
        learner: FewShotClassifier | str | PathLike[str] | None = None,
        draws: int | None = None,
        seed: int = 0,
    ):
        self.learner = learner
        self.draws = draws
        self.seed = seed

    def fit(self, X: Any, y: ArrayLike) -> Self:  # noqa: N803 (scikit-learn's name)
        """Keep the labeled examples; nothing is trained.

        Args:
            X: (n, D) features, or n pictures where the learner takes pictures.
            y: (n,) labels of two classes or more.
        """
        rows: Any
        if _are_pictures(X):
            rows, labels = list(X), np.asarray(y)
            if len(rows) != len(labels):
                raise InputError(f"X has {len(rows)} examples but y has {len(labels)} labels")
        else:
            rows, labels = validate_data(self, X, y, dtype=(np.float32, np.float64))
        check_classification_targets(labels)
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("y has 1 class; a classifier needs two classes or more")
        features = None if _are_pictures(X) else rows.shape[1]
        self.learner_ = self._learner(features)
        self.support_ = {str(c): _chosen(rows, index == c) for c in range(len(self.classes_))}
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """(m, C) probabilities of the classes, in the order of `classes_`; the rows are judged together.

        Of a learner that knows base classes as well (LwoF), given that a row is of none of these.
        """
        check_is_fitted(self)
        rows = list(X) if _are_pictures(X) else validate_data(self, X, reset=False, dtype=(np.float32, np.float64))
        result = self.learner_.predict(self.support_, rows, self.draws, self.seed)
        probabilities = result.probabilities[:, len(result.classes) - len(self.classes_) :].astype(np.float64)
        return probabilities / probabilities.sum(1, keepdims=True)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """(m,) the most probable labels."""
        check_is_fitted(self)
        found: NDArray[Any] = self.classes_[self.predict_proba(X).argmax(1)]
        return found

    def _learner(self, features: int | None) -> FewShotClassifier:
        if isinstance(self.learner, FewShotClassifier):
            return self.learner
        if self.learner is not None:
            return FewShotClassifier.load(self.learner)
        if features is None:
            raise InputError("pictures need a learner that takes pictures; give one")
        return _untrained(features)


def _untrained(features: int) -> FewShotClassifier:
    """The cosine to the class means: K = 0."""
    settings = LearnerSettings(guide="init-only", prior="isotropic")
    program = build_program(settings, features, None, torch.device("cpu"))
    for module in program.modules().values():
        module.eval().requires_grad_(False)
    card = LearnerCard(
        name="untrained",
        learner=settings,
        features=features,
        pictures=None,
        propagation=0.0,
        base_classes=(),
        tasks=TaskSettings(5, 1, 15),
        training=TrainSettings(),
        draws=0,
        data={},
        measured=(),
        made={},
    )
    return FewShotClassifier(TrainedLearner(program, None, None, card))


def _are_pictures(rows: Any) -> bool:
    """Whether X is a sequence of paths or images, not a table of numbers."""
    first = next(iter(rows), None) if isinstance(rows, list | tuple) or getattr(rows, "ndim", 0) in (1, 4) else None
    if first is None or isinstance(first, int | float | complex | np.number):
        return False
    if isinstance(first, np.ndarray | torch.Tensor):
        return first.ndim > 1
    return not isinstance(first, list | tuple)


def _chosen(rows: Any, where: NDArray[np.bool_]) -> Any:
    return (
        [row for row, chosen in zip(rows, where, strict=True) if chosen] if isinstance(rows, list) else rows[where]
    )
