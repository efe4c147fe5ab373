"""Features of any scale brought to where single precision can square them, all by one power of two."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pyro_sib.errors import InputError

ORDINARY = (-20, 40)
"""Binary exponents of the largest number of all features between which they are left as they are."""
WIDEST = 100
"""Binary exponents between the largest row and the smallest that single precision holds side by side."""


def in_single_precision(path: Path, features: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """(n, D) finite features of any float type, by array name, as float32, and notes on what was done to them.

    Where the largest number is beyond `ORDINARY`, all rows are multiplied by the power of two that brings it to
    [1/2, 1): their cosines, which are all that the classifier sees, stay the same to the bit.

    Raises:
        InputError: rows so far apart in scale that one factor cannot serve both.
    """
    sizes = {name: x.abs().amax(1) for name, x in features.items() if len(x)}
    exponents = {name: torch.frexp(size.double()).exponent[size > 0] for name, size in sizes.items()}
    ends = {name: (int(e.min()), int(e.max())) for name, e in exponents.items() if len(e)}
    if not ends:
        raise InputError(f"{path}: every row of the features is zero; mend the network that computed them")
    small, large = min(ends, key=lambda n: ends[n][0]), max(ends, key=lambda n: ends[n][1])
    lowest, highest = ends[small][0], ends[large][1]
    shift = 0 if ORDINARY[0] <= highest <= ORDINARY[1] else -highest
    if lowest < highest - WIDEST:
        raise InputError(
            f"{path}: {large} should be finite in float32 at one scale with {small}, but has rows of about "
            f"{_about(highest)}, beside such of {_about(lowest)} there; mend the network that computed them"
        )
    notes = [] if not shift else [_scaled(highest)]
    for name, size in sizes.items():
        if zeros := int((size == 0).sum()):
            notes.append(f"{zeros} of {len(size)} rows of {name} are zero; all classes are alike to them")
    return {name: _shifted(x, shift) for name, x in features.items()}, tuple(notes)


def _scaled(highest: int) -> str:
    return (
        f"the features, numbers of up to about {_about(highest)}, were multiplied by 2^{-highest}, since single "
        f"precision cannot square them; their cosines are the same"
    )


def _about(exponent: int) -> str:
    return f"{2.0**exponent:.0e}" if abs(exponent) < 1000 else f"2^{exponent}"


def _shifted(x: Tensor, shift: int) -> Tensor:
    """X times 2^shift, (n, D) float32."""
    if not shift:
        return x.float()
    # In two halves, for 2^1000 and more is beyond double precision at once.
    half = shift // 2
    return (x.double() * 2.0**half * 2.0 ** (shift - half)).float()
