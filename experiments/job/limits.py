"""Between what bounds every number on the command line must lie, in one table; each is checked before any work."""

import types
from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import inf, isfinite
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, get_type_hints

from pyro_sib.backbones import MIN_IMAGE_SIZE
from pyro_sib.errors import InputError
from pyro_sib.inference.settings import SCALES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class Limit:
    """A closed interval, or one that leaves an end out.

    Attributes:
        least: the lower end.
        most: the upper end.
        above: whether the number must be above `least`.
        below: whether it must be below `most`.
        purpose: what so many are needed for, where it does not speak for itself.
    """

    least: float
    most: float = inf
    above: bool = False
    below: bool = False
    purpose: str = ""

    def admits(self, value: float) -> bool:
        """Whether the number is finite and within."""
        low = value > self.least if self.above else value >= self.least
        high = value < self.most if self.below else value <= self.most
        return isfinite(value) and low and high

    def words(self, value: float) -> str:
        """What is needed instead of a number that is not admitted."""
        if self.below:
            low = f"more than {self.least:g}" if self.above else f"{self.least:g} or more"
            return f"{low} and less than {self.most:g} is needed"
        if value > self.most:
            return f"{self.most:g} or less is needed"
        if self.above and self.least == 0:
            return "a positive number is needed"
        finite = "" if isfinite(value) else "a finite number of "
        return f"{finite}{self.least:g} or more is needed" + f" for {self.purpose}" * bool(self.purpose)


def _count(least: int, most: float = 1e6, purpose: str = "") -> Limit:
    return Limit(least, most, purpose=purpose)


_SHARE = Limit(0, 1, above=True, below=True)
_RATE = Limit(0, 1e3, above=True)
_SEED = Limit(0, 2**63 - 1)
_STAGE_SEED = Limit(0, 2**32 - 1)

LEAST_DRAWS = 100
"""Fewer leave too short a tail for the Pareto fit of a k-hat."""
LIMITS: dict[str, Limit] = {
    "ask_below": Limit(0, 1),
    "none_above": Limit(0, 1),
    "batch_size": _count(1, 1e4),
    "best_propagation": Limit(0, 1, below=True),
    "chains": _count(2, 100, "R-hat"),
    "choose_tasks": _count(2),
    "coverage": _SHARE,
    "curve_tasks": _count(0),
    "data_seed": _STAGE_SEED,
    "draws": _count(0, 1e5),
    "epochs": _count(1),
    "eval_tasks": _count(2, purpose="an interval"),
    "false_alarms": _SHARE,
    "features": _count(2, 1e4),
    "fit_draws": _count(1, 1e4),
    "fit_steps": _count(1),
    "fit_tasks": _count(2),
    "frequencies": _count(1, 1e4),
    "hold_out_classes": _count(0),
    "image_size": _count(MIN_IMAGE_SIZE, 1024),
    "initial_scale": Limit(*SCALES),
    "iterations": _count(1, 1e9),
    "kl_weight": Limit(0, 1e9),
    "labeled": _count(1, 1e4),
    "learning_rate": _RATE,
    "level": _SHARE,
    "narrow": Limit(0, 1e3, above=True),
    "novel_share": Limit(0, 1e9),
    "open_ways": _count(2, 1e4),
    "own_tasks": Limit(0, 1e6),
    "particles": _count(1, 1e3),
    "pile": _count(1, 1e5),
    "piles": _count(1, 1e5),
    "points": _count(1, 1e4),
    "posterior_tasks": _count(0),
    "predictor_scale": Limit(0, 1e4, above=True),
    "coordinates": Limit(0, 4096),
    "power": Limit(0, 1, above=True),
    "known_images": _count(2),
    "difficulty": Limit(0, 1, below=True),
    "pretrain_batch_size": _count(2, 1e5),
    "pretrain_averaging": Limit(0, 1, below=True),
    "pretrain_colour": Limit(0, 1),
    "pretrain_crop": Limit(0, 1, above=True),
    "pretrain_epochs": _count(1),
    "pretrain_head_scale": Limit(0, 1e4, above=True),
    "pretrain_label_smoothing": Limit(0, 1, below=True),
    "pretrain_learning_rate": _RATE,
    "pretrain_mixup": Limit(0, 1e3),
    "pretrain_rotation": Limit(0, 1e3),
    "pretrain_seed": _STAGE_SEED,
    "pretrain_weight_decay": Limit(0, 1),
    "propagation": Limit(0, 1, below=True),
    "queries": _count(1, 1e4),
    "replications": _count(20),
    "samples": _count(50, purpose="R-hat and ESS"),
    "seconds": Limit(0, 86_400),
    "seed": _SEED,
    "seeded_steps": _count(0, 1e3),
    "seeds": _SEED,
    "select_tasks": _count(2),
    "set_tasks": _count(0),
    "shots": _count(1, 1e4),
    "step_samples": _count(0, 1e3),
    "step_size": Limit(0, 1e6, above=True),
    "steps": _count(0, 1e3),
    "strange": _count(0, 1e5),
    "task": _count(0),
    "tasks": _count(2),
    "thin": _count(1, 1e4),
    "threads": _count(1, 1024),
    "to_label": _count(0, 1e4),
    "train_ways": _count(2, 1e4),
    "unknown_share": Limit(0, 1, below=True),
    "warmup": _count(20),
    "ways": _count(2, 1e4),
}
"""By the field's name, whichever command's it is."""
SPECIAL: dict[tuple[str, str], Limit] = {
    ("CalibrateSettings", "draws"): _count(2, 1e5),
    ("ClassifySettings", "draws"): _count(1, 1e4),
    ("DiagnoseSettings", "draws"): _count(LEAST_DRAWS, 1e5, "k-hat"),
    ("DiagnoseSettings", "tasks"): _count(1),
    ("GoldSettings", "draws"): _count(50, 1e5),
    ("SBCSettings", "draws"): _count(19, 1e4),
}
"""Where a command needs others than `LIMITS`."""


def numbers_of(settings: type) -> Iterator[str]:
    """Names of the fields that hold whole numbers or numbers, alone or in a tuple, given or not."""
    hints = get_type_hints(settings)
    for field in fields(settings):
        if set(_kinds(hints[field.name])) & {int, float}:
            yield field.name


def _kinds(hint: Any) -> Iterator[Any]:
    """What a type is made of: itself, the members of a union, the elements of a tuple."""
    if get_origin(hint) in (Union, types.UnionType, tuple, Annotated):
        for part in get_args(hint):
            yield from _kinds(part)
    else:
        yield hint


def limit_of(settings: type, name: str) -> Limit:
    """Of one field.

    Raises:
        KeyError: nobody has decided on it.
    """
    own = (SPECIAL[kind.__name__, name] for kind in settings.__mro__ if (kind.__name__, name) in SPECIAL)
    return next(own, None) or LIMITS[name]


def check_numbers(settings: "DataclassInstance") -> None:
    """Refuse every number that is out of its bounds, NaN or infinite.

    Raises:
        InputError: naming the option, what was found, and what is needed.
    """
    for name in numbers_of(type(settings)):
        value = getattr(settings, name)
        for one in value if isinstance(value, tuple) else (value,):
            limit = limit_of(type(settings), name)
            if one is not None and not limit.admits(one):
                raise InputError(f"--{name.replace('_', '-')} {one}: {limit.words(one)}")
