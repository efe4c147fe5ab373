"""Which of the learners that come with the project is meant, by part of a name and what else is asked of it."""

from pathlib import Path
from typing import Any

from pyro_sib.errors import InputError, argument
from pyro_sib.inference.settings import card as cards
from pyro_sib.inference.settings.card import LearnerCard, read_learner_card


def named_learner(
    name: str,
    *,
    shots: int | None = None,
    setting: str | None = None,
    synthetic_gradient: str | None = None,
    steps: int | None = None,
) -> str:
    """The full name of a learner: a file's or a full name as it is, else the first shipped one that is meant.

    A shipped learner is meant by any words of its name, as mini-imagenet-c128f of mini-imagenet-c128f-5shot-lwof;
    what is not asked for may be anything, the first in the list of those shipped before others.

    Args:
        name: of a file, a learner, or several of one kind.
        shots: labeled examples of a class (S) that it was trained for.
        setting: standard or lwof.
        synthetic_gradient: its xi.
        steps: its K.

    Raises:
        InputError: none of that name is as asked; the message lists those that there are.
    """
    if name in cards.SHIPPED or Path(name).is_file():
        return name
    family = family_of(name)
    asked: dict[str, Any] = {"shots": shots, "setting": setting, "synthetic_gradient": synthetic_gradient}
    asked = {key: value for key, value in (asked | {"steps": steps}).items() if value is not None}
    for known, found in family.items():
        if all(found[key] in (value, None) for key, value in asked.items()):
            return known
    if not family:
        raise InputError(f"no learner {name}: give a file, or one of {', '.join(cards.SHIPPED)}")
    wanted = ", ".join(f"{argument(key)} {value}" for key, value in asked.items())
    there = "; ".join(f"{known} ({_words(found)})" for known, found in family.items())
    raise InputError(f"no learner {name} for {wanted}; there are {there}")


def family_of(name: str) -> dict[str, dict[str, Any]]:
    """The shipped learners whose names have all words of this one, each with its properties."""
    words = {*name.split("-")}
    found = [known for known in cards.SHIPPED if words <= {*known.split("-")}]
    return {known: properties(read_learner_card(known)) for known in found}


def properties(card: LearnerCard) -> dict[str, Any]:
    """What a learner is chosen by; None where it serves anything."""
    learner, of_any_size = card.learner, card.tasks.any is not None
    return {
        "shots": None if of_any_size else card.tasks.shots,
        "setting": "lwof" if learner.joint else "standard",
        "synthetic_gradient": learner.inside.synthetic_gradient if learner.guide == "sib" else None,
        "steps": learner.inside.steps if learner.guide == "sib" else None,
    }


def _words(found: dict[str, Any]) -> str:
    shots, xi = found["shots"], found["synthetic_gradient"]
    parts = [found["setting"]]
    parts += [] if shots is None else [f"{shots} shot{'s' * (shots > 1)}"]
    parts += [] if xi is None else [f"xi {xi}, K = {found['steps']}"]
    return ", ".join(parts)
