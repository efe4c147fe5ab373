"""The documentation's site: `uv run --group docs sphinx-build -W --keep-going docs docs/_build/html`."""

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "pyro-sib"
version = release = version_of("pyro-sib")

extensions = ["mathml", "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
highlight_language = "none"
html_theme = "furo"
html_title = "pyro-sib"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600

default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def escape_letters(app: Sphinx, what: str, name: str, of: object, options: object, lines: list[str]) -> None:
    """Keep a shape's letter that ends a description ("ways: N.") from being read as the head of a list."""
    lines[:] = [re.sub(r"(^\s*|: )([A-Z])\.(?=\s|$)", r"\1\2\\.", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", escape_letters, priority=400)
