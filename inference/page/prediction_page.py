"""A prediction as one HTML file without anything outside of it."""

import io
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyro_sib.inference.inputs import to_pixels

SHOWN = 120
"""Queries of a part that the page shows, the first in its order."""
DOUBTFUL, STRANGE = 0.5, 0.3
"""A first choice below the one is uncertain; what is of no class with more than the other is strange."""
_SIDE, _QUALITY = 112, 76
_STYLE = """:root{color-scheme:light dark}body{margin:0 auto;max-width:70rem;padding:1rem;
font:1rem/1.45 system-ui,sans-serif;overflow-wrap:anywhere}h1{font-size:1.5rem}h2{font-size:1.15rem;
border-top:1px solid #8886;padding-top:.8rem;margin-top:2rem}div{display:grid;gap:.6rem;
grid-template-columns:repeat(auto-fill,minmax(6.5rem,1fr))}figure{margin:0;border:1px solid #8886;
border-radius:.5rem;overflow:hidden}img{display:block;width:100%;aspect-ratio:1}figcaption{padding:.3rem .45rem;
font-size:.8rem}small{display:block;opacity:.75}"""
_HEAD = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    'img-src data:">'
)


class Predicted(Protocol):
    """What the page needs of a prediction."""

    @property
    def classes(self) -> tuple[str, ...]:
        """C names."""

    @property
    def labels(self) -> NDArray[Any]:
        """(Q,)."""

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """(Q, C)."""

    @property
    def none_of_these(self) -> NDArray[np.float32] | None:
        """(Q,), or None."""


def page_of(result: Predicted, pictures: Sequence[Any], names: Sequence[str] | None) -> str:
    """The page's text: class shares, then the strange, the uncertain, and each class, surest first.

    Args:
        result: for Q queries.
        pictures: of the queries, or none where they were features.
        names: of the queries; paths and numbers unless given.
    """
    count, best = len(result.labels), result.probabilities.max(1)
    called = [str(name) for name in names] if names is not None else _names(pictures, count)
    order = best.argsort(kind="stable")
    none = result.none_of_these
    strange = [] if none is None else [int(n) for n in (-none).argsort(kind="stable") if none[n] > STRANGE]
    parts = [
        ("Perhaps none of these classes", strange),
        ("Uncertain", [int(n) for n in order if best[n] < DOUBTFUL and n not in set(strange)]),
    ]
    parts += [(name, [int(n) for n in order[::-1] if result.labels[n] == name]) for name in result.classes]
    shares = ", ".join(
        f"{escape(name)} {100 * share:.0f}%"
        for name, share in zip(result.classes, result.probabilities.mean(0), strict=True)
    )
    said = "" if none is None else f"; of none of them {100 * float(none.mean()):.0f}%"
    title = f"{count} queries of {len(result.classes)} classes"
    body = [
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1><p>Shares: {shares}{said}.</p>"
    ]
    for heading, rows in parts:
        if rows:
            cards = _cards(result, pictures, called, rows[:SHOWN])
            more = f" <small>the first {SHOWN} of {len(rows)}</small>" if len(rows) > SHOWN else ""
            body.append(f"<h2>{escape(heading)}{more}</h2><div>{''.join(cards)}</div>")
    return f"{_HEAD}{''.join(body)}</body></html>\n"


def _names(pictures: Sequence[Any], count: int) -> list[str]:
    numbers = [f"query {n}" for n in range(count)]
    if not pictures:
        return numbers
    return [
        PurePath(fspath(one)).name if isinstance(one, str | PathLike) else number
        for one, number in zip(pictures, numbers, strict=True)
    ]


def _cards(result: Predicted, pictures: Sequence[Any], names: Sequence[str], rows: Sequence[int]) -> Iterable[str]:
    for n in rows:
        image = f'<img src="{_thumbnail(pictures[n])}" alt="" loading="lazy">' if pictures else ""
        second = result.probabilities[n].argsort()[::-1][:2]
        said = [f"{escape(result.classes[c])} {100 * result.probabilities[n, c]:.0f}%" for c in second]
        none = "" if result.none_of_these is None else f"<small>none: {100 * result.none_of_these[n]:.0f}%</small>"
        caption = f"<b>{said[0]}</b><small>{'; '.join(said[1:])}</small>{none}<small>{escape(names[n])}</small>"
        yield f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _thumbnail(picture: Any) -> str:
    pixels = to_pixels([picture], _SIDE, "queries", "crop")[0].permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode()}"
