"""What users hand over to be classified: paths, Pillow's images, arrays of pixels, or features."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pyro_sib.data.images import resize, to_images
from pyro_sib.data.names import Fit
from pyro_sib.data.pictures.decode import from_pillow, quiet_pillow
from pyro_sib.errors import InputError
from pyro_sib.features.pretrain import extract
from pyro_sib.inference.settings.card import PictureSettings

_BATCH = 256
"""Pictures that are decoded together."""

Examples: TypeAlias = Any
"""Pictures (paths, Pillow images, (H, W, 3) or (H, W) uint8 arrays, or one (n, H, W, 3) uint8 array), or features
((n, D) floats, or a list of (D,) floats)."""


@dataclass(frozen=True)
class Given:
    """Examples sorted by what they are; one of the two is there.

    Attributes:
        pictures: paths, Pillow images and (H, W[, 3]) uint8 arrays.
        features: (n, D) float32.
    """

    pictures: tuple[Any, ...] = ()
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.pictures) if self.features is None else len(self.features)


def sort_examples(examples: Examples, name: str) -> Given:
    """Find out what the examples are.

    Args:
        examples: of one class, or the queries.
        name: of the argument, for errors.

    Raises:
        InputError: something that is neither pictures nor features, or both mixed.
    """
    if isinstance(examples, str | PathLike | Image.Image):
        return Given((examples,))
    if isinstance(examples, np.ndarray | Tensor):
        return _of_array(examples, name)
    if isinstance(examples, Mapping) or not isinstance(examples, Iterable):
        raise InputError(f"{name} should be a list of pictures or an array of features but is {_kind(examples)}")
    items = list(examples)
    if not items:
        return Given()
    given = [_of_item(item, f"{name}[{place}]") for place, item in enumerate(items)]
    if all(one.features is None for one in given):
        return Given(tuple(picture for one in given for picture in one.pictures))
    rows = [one.features for one in given if one.features is not None]
    if len(rows) < len(given):
        raise InputError(f"{name} mixes pictures and features; give one kind")
    sizes = sorted({row.shape[1] for row in rows})
    if len(sizes) > 1:
        raise InputError(f"{name} has features of {sizes[0]} and of {sizes[-1]} numbers; all need as many")
    return Given(features=torch.cat(rows))


def _of_array(array: np.ndarray | Tensor, name: str) -> Given:
    array = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    if array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3:
        return Given(tuple(array))
    if array.dtype.kind == "f" and array.ndim == 2:
        return Given(features=_floats(array, name))
    if array.dtype == object and array.ndim == 1:
        return sort_examples(list(array), name)
    if array.dtype.kind == "U" and array.ndim == 1:
        return Given(tuple(str(path) for path in array))
    raise InputError(
        f"{name} is an array of {array.dtype} of shape {array.shape}; pictures are (n, H, W, 3) of uint8 and "
        f"features (n, D) of floats"
    )


def _of_item(item: object, name: str) -> Given:
    if isinstance(item, str | PathLike | Image.Image):
        return Given((item,))
    if isinstance(item, Tensor):
        item = item.detach().cpu().numpy()
    if isinstance(item, np.ndarray):
        if item.dtype == np.uint8 and (item.ndim == 2 or (item.ndim == 3 and item.shape[-1] == 3)):
            return Given((item,))
        if item.dtype.kind == "f" and item.ndim == 1:
            return Given(features=_floats(item[None], name))
        raise InputError(
            f"{name} is an array of {item.dtype} of shape {item.shape}; a picture is (H, W, 3) or (H, W) of uint8 "
            f"and features are (D,) of floats"
        )
    raise InputError(f"{name} is {_kind(item)}, which is no path, no Pillow image and no array")


def _floats(array: np.ndarray, name: str) -> Tensor:
    if array.shape[1] == 0:
        raise InputError(f"{name} has features of no numbers")
    with np.errstate(over="ignore"):
        found = torch.from_numpy(np.array(array, dtype=np.float32, order="C"))
    odd = ~found.isfinite().all(1)
    if bool(odd.any()):
        row = int(odd.nonzero()[0])
        raise InputError(
            f"{name}: row {row} holds numbers that are NaN, infinite or too large for single precision"
        )
    return found


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


@torch.no_grad()
def picture_features(
    backbone: nn.Module,
    pictures: Sequence[Any],
    how: PictureSettings,
    device: torch.device,
    name: str = "pictures",
    on_rows: Callable[[int, int], None] = lambda done, total: None,
) -> Tensor:
    """Features of pictures of any kind, in memory that their number does not change: (n, D) float32 on the CPU.

    Args:
        backbone: (m, 3, S, S) normalized pixels -> (m, D).
        pictures: one or more.
        how: they become features.
        device: where to compute.
        name: of the pictures, for errors.
        on_rows: told (pictures done, pictures in all).

    Raises:
        InputError: a file that is missing, damaged or no picture.
    """
    rows = []
    for first in range(0, len(pictures), _BATCH):
        pixels = to_pixels(pictures[first : first + _BATCH], how.image_size, name, how.fit, first)
        rows.append(extract(backbone, pixels, device, how.flips, how.pixels))
        on_rows(first + len(pixels), len(pictures))
    return torch.cat(rows)


def to_pixels(
    pictures: Sequence[Any], size: int, name: str = "pictures", fit: Fit = "squash", first: int = 0
) -> Tensor:
    """Pictures of any kind to (n, 3, size, size) uint8.

    Files are decoded on torch's number of threads.

    Args:
        pictures: paths, Pillow images or arrays.
        size: pixels a side.
        name: of the pictures, for errors.
        fit: how pictures of another shape become squares.
        first: number of the first picture, for errors.

    Raises:
        InputError: a file that is missing, damaged or no picture.
    """
    out = torch.empty(len(pictures), 3, size, size, dtype=torch.uint8)
    files = [place for place, picture in enumerate(pictures) if isinstance(picture, str | PathLike)]
    if files:
        rows = np.empty(len(files), dtype=object)
        rows[:] = [fspath(pictures[place]) for place in files]
        out[files] = to_images(rows, size, fit=fit)
    with quiet_pillow():
        for place in sorted(set(range(len(pictures))) - set(files)):
            out[place] = resize(_pixels(pictures[place], f"{name}[{first + place}]")[None], size, fit)[0]
    return out


def _pixels(picture: Image.Image | np.ndarray, name: str) -> Tensor:
    """(3, H, W) uint8."""
    if isinstance(picture, Image.Image):
        return from_pillow(picture, name)
    if 0 in picture.shape:
        raise InputError(f"{name} is a picture without pixels, of shape {picture.shape}")
    pixels = torch.from_numpy(np.array(picture, order="C"))
    return pixels.permute(2, 0, 1).contiguous() if pixels.ndim == 3 else pixels.expand(3, *pixels.shape)
