"""Empirical Bayes few-shot learning with synthetic gradients."""

from pathlib import Path

_ROOT = Path(__file__).parent.parent
if (_ROOT / "pyproject.toml").is_file() and (_ROOT / "models").is_dir():
    # In a checkout the layers lie beside this folder; the links in it are for type checkers, and some systems have
    # no links.
    __path__.append(str(_ROOT))
