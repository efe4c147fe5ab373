"""Pixels: image files and arrays of images to (n, 3, S, S) uint8."""

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.data.names import Fit
from pyro_sib.data.pictures.census import Census
from pyro_sib.data.pictures.decode import Picture, decoded, decoding, quiet_pillow
from pyro_sib.errors import InputError

Progress = Callable[[int, int], None]
"""Told (rows done, rows in all)."""

Item = TypeVar("Item")
Done = TypeVar("Done")

_CHUNK = 128
_PIXELS_AT_ONCE = 2**24
"""Pixels of decoded files that threads hold at full size together (one file may exceed it): some 300 MB."""
_SMALL = 2**16
"""Pixels up to which images of one shape are kept and resized together."""
_WHOLE = 2**20
"""Pixels up to which an image is made float32 at once."""


def to_images(
    rows: NDArray[Any],
    size: int,
    progress: Callable[[int], None] = lambda done: None,
    census: Census | None = None,
    fit: Fit = "squash",
) -> Tensor:
    """Decode and resize on torch.get_num_threads() threads, each image as it is decoded.

    Args:
        rows: (n,) object array of paths, or (n, H, W, 3) uint8.
        size: side S in pixels.
        progress: told how many further rows are done.
        census: told of each picture; pictures of more than 8 bits a channel are then left to `fill_deferred`,
            which the caller calls once all splits were here.
        fit: how images of another shape become squares.

    Returns:
        (n, 3, S, S) uint8, contiguous.

    Raises:
        InputError: a file that is missing, truncated or not an image.
    """
    out = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)
    if rows.dtype == object:
        mine = census or Census()
        _fill_files(out, [Path(path) for path in rows], size, progress, mine, fit)
        if census is None:
            fill_deferred(mine, size, progress, fit)
        return out
    chunk = max(1, min(_CHUNK, _PIXELS_AT_ONCE // max(rows.shape[1] * rows.shape[2], 1)))

    def fill(start: int) -> int:
        part = rows[start : start + chunk]
        channels_first = torch.from_numpy(np.array(part.transpose(0, 3, 1, 2), order="C"))
        out[start : start + chunk] = resize(channels_first, size, fit)
        return len(part)

    for done in _in_threads(fill, range(0, len(rows), chunk)):
        progress(done)
    return out


def fill_deferred(
    census: Census, size: int, progress: Callable[[int], None] = lambda done: None, fit: Fit = "squash"
) -> None:
    """Decode the pictures of more than 8 bits a channel, all of one depth scaled alike.

    Raises:
        InputError: values that no usual range holds.
    """
    ranges = census.ranges()
    admit = _Room(_PIXELS_AT_ONCE).hold

    def fill(item: tuple[Tensor, Path]) -> int:
        place, path = item
        with decoded(path, ranges, admit) as picture:
            _put(place, picture, size, fit)
        return 1

    for done in _in_threads(fill, census.deferred):
        progress(done)


def _fill_files(
    out: Tensor, paths: list[Path], size: int, progress: Callable[[int], None], census: Census, fit: Fit
) -> None:
    admit = _Room(_PIXELS_AT_ONCE).hold

    def fill(start: int) -> list[Picture]:
        found, small = [], defaultdict(list)
        for row in range(start, min(start + _CHUNK, len(paths))):
            with decoded(paths[row], {}, admit) as picture:
                if picture.pixels is not None and picture.pixels[0].numel() <= _SMALL:
                    small[picture.pixels.shape].append((row, picture.pixels))
                else:
                    _put(out[row], picture, size, fit)
                found.append(Picture(None, picture.traits, picture.depth, picture.low, picture.high))
        for group in small.values():
            _put_group(out, group, size, fit)
        return found

    starts = range(0, len(paths), _CHUNK)
    for start, found in zip(starts, _in_threads(fill, starts), strict=True):
        for row, picture in enumerate(found, start):
            census.add(paths[row], picture, out[row])
        progress(sum(picture.depth is None for picture in found))


def _put(place: Tensor, picture: Picture, size: int, fit: Fit) -> None:
    if picture.pixels is not None:
        place[:] = resize(picture.pixels[None], size, fit)[0]


def _put_group(out: Tensor, group: list[tuple[int, Tensor]], size: int, fit: Fit) -> None:
    """Resize images of one shape, as many at once as make up one large image."""
    at_once = max(1, _WHOLE // group[0][1][0].numel())
    for first in range(0, len(group), at_once):
        part = group[first : first + at_once]
        out[[row for row, _ in part]] = resize(torch.stack([pixels for _, pixels in part]), size, fit)


def _in_threads(work: Callable[[Item], Done], items: Sequence[Item] | range) -> Iterator[Done]:
    """What `work` makes of each item, in their order, on torch.get_num_threads() threads."""
    with quiet_pillow(), ThreadPoolExecutor(torch.get_num_threads()) as pool:
        try:
            yield from pool.map(work, items)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


class _Room:
    """Pixels that threads may hold together."""

    def __init__(self, pixels: int) -> None:
        self._free, self._all, self._changed = pixels, pixels, threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until so many are free; what is larger than all waits until it is alone."""
        wanted = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()


def each_image(paths: Sequence[Path], make: Callable[[Tensor], Done]) -> Iterator[Done | InputError]:
    """What `make` makes of each file, or why it cannot be read; on torch.get_num_threads() threads.

    Pictures are at full size one a thread, within the bound on all of them, and are let go once `make` is done.

    Args:
        paths: of the files, as many as may wait in memory once they are made.
        make: told a picture, (3, H, W) uint8; a deep one is scaled by the range of its own values.
    """
    admit = _Room(_PIXELS_AT_ONCE).hold

    def work(path: Path) -> Done | InputError:
        try:
            with decoding(path, admit) as pixels:
                return make(pixels)
        except InputError as error:
            return error

    return _in_threads(work, paths)


def resize(images: Tensor, size: int, fit: Fit = "squash") -> Tensor:
    """(n, 3, H, W) uint8 -> (n, 3, size, size) uint8, rounded: area means where both sides shrink, else bilinear.

    The area's mean stays sharper than the antialiased bilinear filter, which small networks can tell.
    """
    if fit == "crop":
        images = _centre(images)
    if images.shape[-2:] == (size, size):
        return images
    if min(images.shape[-2:]) >= size:
        scaled = _area_means(images, size)
    else:
        scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def _centre(images: Tensor) -> Tensor:
    """The square in the middle, of the shorter side."""
    height, width = images.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return images[..., top : top + side, left : left + side]


def _area_means(images: Tensor, size: int) -> Tensor:
    """(n, 3, H, W) -> (n, 3, size, size) float32; of large images one row of the result after the other."""
    height, width = images.shape[-2:]
    if height * width <= _WHOLE:
        return F.interpolate(images.float(), (size, size), mode="area")
    bands: Iterable[tuple[int, int]] = ((i * height // size, -(-(i + 1) * height // size)) for i in range(size))
    rows = [F.adaptive_avg_pool2d(images[..., top:end, :].float(), (1, size)) for top, end in bands]
    return torch.cat(rows, dim=-2)
