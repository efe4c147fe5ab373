"""report.html: one file without anything outside of it, readable on a telephone."""

from base64 import b64encode
from importlib import resources
from pathlib import Path
from typing import Any

from pyro_sib.errors import InputError
from pyro_sib.experiments.classify import ClassifySettings
from pyro_sib.experiments.own_pictures.judge import AT_ONCE, Judged
from pyro_sib.experiments.own_pictures.left_out import share_interval
from pyro_sib.experiments.own_pictures.outcome import Outcome, by_confidence
from pyro_sib.experiments.own_pictures.rows import Row, by_class
from pyro_sib.experiments.terminal.escape import one_line, shortened
from pyro_sib.inference.settings.card import LearnerCard

_SHOWN = 120
"""Pictures of a part that the page shows; predictions.csv has all."""


def report_html(outcome: Outcome, settings: ClassifySettings, card: LearnerCard, when: str) -> str:
    """The page's text.

    Raises:
        InputError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError:
        raise InputError("report.html needs the package jinja2, which is not installed; install it") from None
    text = resources.files("pyro_sib.experiments.own_pictures").joinpath("report.html.jinja").read_text("utf-8")
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    page.filters |= {"percent": _percent, "line": one_line, "wide": _wide}
    return page.from_string(text).render(_content(outcome, settings, card, when))


def _content(outcome: Outcome, settings: ClassifySettings, card: LearnerCard, when: str) -> dict[str, Any]:
    judged = outcome.judged
    asked = (outcome.ask & ~outcome.strange).nonzero()[:, 0].tolist()
    asked.sort(key=lambda row: float(judged.probabilities[row].max()))
    strange = outcome.strange.nonzero()[:, 0].tolist()
    strange.sort(key=lambda row: -_none(judged, row))
    return {
        "settings": settings,
        "when": when,
        "card": card,
        "classes": [
            {
                "name": name,
                "labeled": [_labeled(row) for row in rows],
                "share": [float(part[number]) for part in outcome.composition],
                "pictures": [_card(outcome, row) for row in by_confidence(judged, number)[:_SHOWN]],
                "count": int((judged.best == number).sum()),
                "anchor": f"class-{number}",
            }
            for number, (name, rows) in enumerate(by_class(outcome.labeled).items())
        ],
        "pile": len(outcome.pile),
        "labeled": len(outcome.labeled),
        "asked": [_card(outcome, row) for row in asked[:_SHOWN]],
        "asked_count": len(asked),
        "strange": [_card(outcome, row) for row in strange[:_SHOWN]],
        "strange_count": len(strange),
        "none_share": None if judged.none is None else [float(part[-1]) for part in outcome.composition],
        "next": [_card(outcome, row) for row in outcome.next],
        "trust": _trust(outcome, settings.coverage),
        "parts": len(judged.parts),
        "at_once": AT_ONCE,
        "left": outcome.left,
        "shown": _SHOWN,
        "longest": max(float(outcome.composition.high.max()), 0.01),
        "confident": float(judged.probabilities.amax(1).mean()),
    }


def _trust(outcome: Outcome, coverage: float) -> dict[str, Any]:
    checked, classes = outcome.checked, outcome.judged.classes
    count = len(checked.truth)
    low, high = share_interval(checked.right, count) if count else (0.0, 1.0)
    mistakes = [
        (classes[true], classes[guess])
        for true, guess in zip(checked.truth.tolist(), checked.guess.tolist(), strict=True)
        if true != guess
    ]
    found: dict[str, Any] = {
        "count": count,
        "right": checked.right,
        "interval": (low, high),
        "mistakes": sorted({(*pair, mistakes.count(pair)) for pair in mistakes}, key=lambda m: (-m[2], m)),
        "chance": 1 / len(classes),
        "folds": checked.folds,
        "alone": checked.alone,
        "needed": checked.needed,
        "coverage": coverage,
        "has_sets": checked.sets is not None,
    }
    if checked.sets is not None:
        sizes = checked.sets.sum(1)
        found["sizes"] = {
            "one": float((sizes == 1).double().mean()),
            "none": float((sizes == 0).double().mean()),
            "several": float((sizes > 1).double().mean()),
        }
    return found


def _labeled(row: Row) -> dict[str, Any]:
    return {"image": _image(row), "name": _name(row)}


def _card(outcome: Outcome, number: int) -> dict[str, Any]:
    row, judged = outcome.pile[number], outcome.judged
    values, order = judged.probabilities[number].sort(descending=True, stable=True)
    return {
        "image": _image(row),
        "name": _name(row),
        "path": row.name,
        "top": [(judged.classes[c], float(v)) for v, c in zip(values[:2], order[:2].tolist(), strict=True)],
        "set": outcome.names_in_set(number),
        "none": _none(judged, number),
        "ask": bool(outcome.ask[number] | outcome.strange[number]),
    }


def _none(judged: Judged, row: int) -> float:
    return 0.0 if judged.none is None else float(judged.none[row])


def _name(row: Row) -> str:
    return shortened(one_line(Path(row.name).name), 32)


def _image(row: Row) -> str:
    """A data URL; empty for a row of features."""
    return "" if row.entry is None else f"data:image/jpeg;base64,{b64encode(row.entry.thumbnail).decode()}"


def _percent(share: float) -> str:
    """Without a rounding that claims certainty."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{100 * share:.0f}%"


def _wide(share: float) -> str:
    """A width or a place for a style sheet."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
