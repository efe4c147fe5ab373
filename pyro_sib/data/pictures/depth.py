"""Pictures of more than 8 bits a channel: which range they are scaled from, and how."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyro_sib.errors import InputError

Range = tuple[float, float]

RANGES: dict[str, tuple[Range, ...]] = {
    "12-bit": ((0, 2**12 - 1),),
    "16-bit": ((0, 2**16 - 1),),
    "signed 16-bit": ((0, 2**15 - 1), (-(2**15), 2**15 - 1)),
    "unsigned 32-bit": ((0, 255), (0, 2**16 - 1), (0, 2**32 - 1)),
    "signed 32-bit": ((0, 255), (0, 2**16 - 1), (0, 2**31 - 1), (-(2**31), 2**31 - 1)),
    "floating-point": ((0, 1), (0, 255), (0, 2**16 - 1)),
}
"""Depth, as the file declares it, to the ranges that it may have, the smallest first.

12 and 16 bits without a sign are what they say: the content has no part in it, so 12-bit values in a file that
declares 16 bits stay dark, and are warned of. 32-bit integers and floats declare no range that anyone fills: theirs
is the smallest here that holds all such pictures of a data set.
"""

_BITS, _FORMAT, _PHOTOMETRIC = 258, 339, 262
_SIGNED = 2
_DARK = 31
"""The brightest of the scaled values at and below which a data set is called dark: three bits short."""


def depth_of(image: Image.Image) -> str | None:
    """The key of `RANGES` that the file declares, or None where Pillow gives 8 bits a channel."""
    if image.mode == "F":
        return "floating-point"
    if not image.mode.startswith("I"):
        return None
    if image.format == "TIFF":
        bits, kind = (_first(image, tag, 1) for tag in (_BITS, _FORMAT))
        if image.mode.startswith("I;16"):
            return "12-bit" if bits == 12 else "16-bit"
        name = f"{'signed' if kind == _SIGNED else 'unsigned'} {bits}-bit"
        return name if name in RANGES else "signed 32-bit"
    # PNG, PNM and JPEG 2000 hold 16 bits at most, which Pillow gives in mode I or I;16 by its version.
    return "16-bit"


def values_of(image: Image.Image, depth: str) -> NDArray[Any]:
    """(H, W) integers or floats, as the file has them."""
    values = np.asarray(image)
    return values.view(np.uint32) if depth == "unsigned 32-bit" else values


def is_negative(image: Image.Image) -> bool:
    """Whether a deep TIFF has white at zero, which Pillow leaves as it is."""
    return image.format == "TIFF" and _first(image, _PHOTOMETRIC, 1) == 0


def _first(image: Image.Image, tag: int, otherwise: int) -> int:
    value = image.tag_v2.get(tag, otherwise)  # type: ignore[attr-defined]
    return value[0] if isinstance(value, tuple) else value


def choose_range(depth: str, low: float, high: float, example: str) -> Range:
    """The smallest range of the depth that holds values from `low` to `high`.

    Args:
        depth: key of `RANGES`.
        low: least value of all pictures of that depth.
        high: greatest value of them.
        example: the picture that holds the value furthest out, named in the message.

    Raises:
        InputError: no range holds them, or all of them would turn black.
    """
    fitting = [(a, b) for a, b in RANGES[depth] if a <= low and high <= b]
    if not fitting:
        wanted = " or ".join(f"{a:g}..{b:g}" for a, b in RANGES[depth])
        raise InputError(
            f"{example} holds {depth} values from {low:g} to {high:g}, which no usual range holds ({wanted}); "
            f"scale these pictures and save them with 8 bits"
        )
    chosen = fitting[0]
    if high > low and depth != "floating-point" and to_8_bits(np.array([high], np.int64), chosen)[0] == 0:
        raise InputError(
            f"{example} is declared {depth} ({chosen[0]}..{chosen[1]}) but the data set's values end at {high:g}: "
            f"scaled to 8 bits, all of these pictures would be black; save them with 8 bits"
        )
    return chosen


def to_8_bits(values: NDArray[Any], chosen: Range) -> NDArray[np.uint8]:
    """Scale a range to 0..255: integers by their upper 8 bits, as PNG's 16-bit colours are; floats rounded."""
    low, high = chosen
    if values.dtype.kind == "f":
        return np.rint((values.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)
    shift = (int(high) - int(low) + 1).bit_length() - 9
    shifted = values if not low else values.astype(np.int64) - int(low)
    return (shifted >> shift).astype(np.uint8)


def scaling_in_words(depth: str, count: int, low: float, high: float, chosen: Range) -> str:
    """What was done to `count` pictures of a depth, for output and results."""
    text = (
        f"{count} {depth} pictures scaled from {chosen[0]:g}..{chosen[1]:g} to 8 bits (values {low:g} to {high:g})"
    )
    kind: Any = np.float64 if depth == "floating-point" else np.int64
    if low < high and to_8_bits(np.array([high], kind), chosen)[0] <= _DARK:
        text += (
            "; they come out dark, as they use a small part of the range that they declare: if that is not meant, "
        )
        text += "scale them first"
    return text
