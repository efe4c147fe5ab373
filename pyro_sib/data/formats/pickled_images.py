"""What both pickled forms share: a dict with an array of RGB images."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyro_sib.data.formats.unpickle import load_pickle
from pyro_sib.data.pictures.skipped import printable
from pyro_sib.errors import InputError


def load_image_dict(
    path: Path, images: str, others: tuple[str, ...]
) -> tuple[NDArray[np.uint8], Mapping[str, Any]]:
    """Read a pickled dict and the images in it.

    Args:
        path: the pickle.
        images: key of the (n, H, W, 3) uint8 array.
        others: further keys that must be there.

    Returns:
        The images and the whole dict.

    Raises:
        InputError: an unreadable pickle, not a dict, a missing key, or images of another shape or type.
    """
    content = load_pickle(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path} should hold a dict but holds a {type(content).__name__}; download it again")
    missing = [key for key in (images, *others) if key not in content]
    if missing:
        raise InputError(
            f"{path} lacks the key {missing[0]!r} (found: {printable(', '.join(map(str, content)))[:200]}); "
            f"download it again"
        )
    array = as_array(path, images, content[images])
    if array.ndim != 4 or array.shape[-1] != 3 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"{path}: {images} should be (n, H, W, 3) uint8 but is {array.shape} {array.dtype}; "
            f"save it in that form"
        )
    return array, content


def as_array(path: Path, key: str, value: Any) -> NDArray[Any]:
    """What a pickle holds under `key`, as an array.

    Raises:
        InputError: numpy makes none of it.
    """
    try:
        return np.asarray(value)
    except Exception as error:  # lists of unequal lengths, of themselves, of numbers out of range
        what = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: {key} is no array ({what}); download it again") from None
