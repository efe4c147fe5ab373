"""Formulas as MathML, which browsers draw by themselves: no script and no network at view.

The font is the one that the package ziamath brings, copied into the site.
"""

import re
from pathlib import Path

import ziamath
from docutils import nodes
from math_core import LatexToMathML
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

FONT = Path(ziamath.__file__).parent / "fonts" / "STIXTwoMath-Regular.ttf"
"""Named in _static/site.css."""

_CONVERTER = LatexToMathML()
_TAG = re.compile(r"\\tag\{(.*?)\}")


def visit_inline(self: HTML5Translator, node: nodes.math) -> None:
    """A formula inside a line."""
    self.body.append(_CONVERTER.convert_with_local_state(node.astext(), displaystyle=False))
    raise nodes.SkipNode


def visit_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula of its own, with the number that its tag gives."""
    tag = _TAG.search(node.astext())
    formula = _CONVERTER.convert_with_local_state(_TAG.sub("", node.astext()), displaystyle=True)
    number = f'<span class="eqno">({tag[1]})</span>' if tag else ""
    self.body.append(f"{self.starttag(node, 'div', CLASS='formula')}<div>{formula}</div>{number}</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Offer the renderer `mathml`, and bring the font."""
    app.config.html_static_path.append(str(FONT))
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
