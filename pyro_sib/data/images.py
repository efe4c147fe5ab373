"""Pixels: image files and arrays of images to (n, 3, S, S) uint8."""

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from pyro_sib.data.sniff import HEAD, refuse_impostor
from pyro_sib.errors import InputError

Progress = Callable[[int, int], None]
"""Told (rows done, rows in all)."""

_CHUNK = 128
_JPEG, _JPEG_END, _END_WITHIN = b"\xff\xd8", b"\xff\xd9", 64


def to_images(rows: NDArray[Any], size: int, progress: Callable[[int], None] = lambda done: None) -> Tensor:
    """Decode and resize on torch.get_num_threads() threads.

    Args:
        rows: (n,) object array of paths, or (n, H, W, 3) uint8.
        size: side S in pixels; images of another shape are resized to the square, whatever their aspect.
        progress: told how many further rows are done.

    Returns:
        (n, 3, S, S) uint8, contiguous.

    Raises:
        InputError: a file that is missing, truncated or not an image.
    """
    out = torch.empty(len(rows), 3, size, size, dtype=torch.uint8)

    def fill(start: int) -> int:
        chunk = rows[start : start + _CHUNK]
        if rows.dtype == object:
            _fill_files(out[start : start + _CHUNK], [Path(path) for path in chunk], size)
        else:
            channels_first = torch.from_numpy(np.array(chunk.transpose(0, 3, 1, 2), order="C"))
            out[start : start + _CHUNK] = resize(channels_first, size)
        return len(chunk)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        try:
            for done in pool.map(fill, range(0, len(rows), _CHUNK)):
                progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return out


def _fill_files(out: Tensor, paths: list[Path], size: int) -> None:
    images = [decode_image(path) for path in paths]
    if len({image.shape for image in images}) == 1:
        out[:] = resize(torch.stack(images), size)
    else:
        for place, image in zip(out, images, strict=True):
            place[:] = resize(image[None], size)[0]


def resize(images: Tensor, size: int) -> Tensor:
    """(n, 3, H, W) uint8 -> (n, 3, size, size) uint8, rounded: area means where both sides shrink, else bilinear.

    The area's mean stays sharper than the antialiased bilinear filter, which small networks can tell.
    """
    if images.shape[-2:] == (size, size):
        return images
    if min(images.shape[-2:]) >= size:
        scaled = F.interpolate(images.float(), (size, size), mode="area")
    else:
        scaled = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def decode_image(path: Path) -> Tensor:
    """Decode one JPEG, PNG or BMP (whatever its suffix) to (3, H, W) uint8 RGB.

    Raises:
        InputError: missing, truncated, a web page under that name, or not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); unpack the archive again") from None
    if data.startswith(_JPEG):
        # Decoders fill what a truncated JPEG lacks with grey and say nothing. The end marker occurs nowhere
        # in compressed data; some cameras write a few bytes after it.
        if _JPEG_END not in data[-_END_WITHIN:]:
            raise InputError(
                f"{path} is truncated (a JPEG without its end, {len(data)} bytes); unpack the archive again"
            )
        from torchvision.io import ImageReadMode, decode_jpeg  # seconds to import; a run on features needs none

        try:
            return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
        except RuntimeError:
            pass  # a colour space that torchvision does not know; Pillow decides
    return _decode_with_pillow(path, data)


def _decode_with_pillow(path: Path, data: bytes) -> Tensor:
    refuse_impostor(path, data[:HEAD], "an image")
    try:
        with Image.open(io.BytesIO(data)) as image:
            # Straight to RGB, Pillow warns about the transparent colours of palettes.
            rgb = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        what = str(error).replace("<_io.BytesIO object", "<data")
        raise InputError(f"{path} is not a readable image ({what}); unpack the archive again") from None
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous()
