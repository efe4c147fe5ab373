"""One image file to RGB: whole, turned as its EXIF says, laid on white where it is transparent."""

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from pyro_sib.data.formats.sniff import HEAD, refuse_impostor
from pyro_sib.data.pictures.depth import Range, choose_range, depth_of, is_negative, to_8_bits, values_of
from pyro_sib.data.pictures.jpeg_head import plain_jpeg_pixels
from pyro_sib.errors import InputError

TURNED, FRAMES, ON_WHITE, HIGH_BYTE = "turned", "frames", "on white", "high byte"

_JPEG = b"\xff\xd8"
_ORIENTATION = 0x0112
_TURNS: dict[int, Callable[[Tensor], Tensor]] = {
    2: lambda x: x.flip(-1),
    3: lambda x: x.flip(-1, -2),
    4: lambda x: x.flip(-2),
    5: lambda x: x.transpose(-1, -2),
    6: lambda x: x.transpose(-1, -2).flip(-1),
    7: lambda x: x.flip(-1, -2).transpose(-1, -2),
    8: lambda x: x.transpose(-1, -2).flip(-2),
}
"""EXIF's orientation to what shows the picture upright, (C, H, W)."""

Admit = Callable[[int], AbstractContextManager[object]]
"""Told a picture's pixels before they are decoded; waits until there is room for them."""


@dataclass(frozen=True)
class Picture:
    """A decoded file.

    Attributes:
        pixels: (3, H, W) uint8 RGB, or None where the picture is deep and its range is not known yet.
        traits: what was done to it, of TURNED, FRAMES, ON_WHITE and HIGH_BYTE.
        depth: key of `depth.RANGES`, or None at 8 bits a channel.
        low: least value of a deep picture.
        high: greatest value of it.
    """

    pixels: Tensor | None
    traits: frozenset[str] = frozenset()
    depth: str | None = None
    low: float = 0.0
    high: float = 0.0


def decode_image(path: Path) -> Tensor:
    """Decode one file, whatever its suffix, to (3, H, W) uint8 RGB, a deep one by the range of its own values.

    Raises:
        InputError: missing, truncated, too large, a web page under that name, or not an image.
    """
    with quiet_pillow(), decoding(path) as pixels:
        return pixels


class _Quiet:
    """Pillow's warnings off while any thread is inside.

    Python has one list of filters for all threads: the first that enters changes it, and the last that leaves puts
    it back.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._kept = threading.Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._kept = warnings.catch_warnings()
                self._kept.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._kept.__exit__(None, None, None)


_QUIET = _Quiet()


def quiet_pillow() -> AbstractContextManager[None]:
    """Without Pillow's warnings, of damaged EXIF and of many pixels: what it decodes, it decodes."""
    return _QUIET


@contextmanager
def decoded(
    path: Path, ranges: Mapping[str, Range], admit: Admit = lambda pixels: nullcontext()
) -> Iterator[Picture]:
    """Decode one file; the decoder decides whether it is whole, and bytes after its end are no part of it.

    Args:
        path: the file.
        ranges: depth to the range that is scaled to 8 bits; a picture of another depth is only measured.
        admit: entered until the picture is done with.

    Raises:
        InputError: missing, truncated, too large, a web page under that name, or not an image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path or unpack it again") from None
    refuse_impostor(path, data[:HEAD], "an image")
    try:
        plain = plain_jpeg_pixels(data)
        if plain is not None and plain <= (Image.MAX_IMAGE_PIXELS or plain):
            with admit(plain):
                if (pixels := _decode_jpeg(path, data)) is not None:
                    yield Picture(pixels)
                    return
        with Image.open(io.BytesIO(data)) as image, admit(image.width * image.height):
            yield _decoded(path, data, image, ranges)
    except Image.DecompressionBombError as error:
        found, most, *_ = [*re.findall(r"\d+", str(error)), "?", "?"]
        raise InputError(
            f"{path} has {found} pixels, and Pillow decodes at most {most}, lest a small file fill the memory; "
            f"make the picture smaller or remove it"
        ) from None
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"{path} does not fit into memory; make the picture smaller or remove it") from None
    except Exception as error:  # damaged files surface as almost any exception
        what = re.sub("<_io.BytesIO object[^>]*>", "the data", str(error)) or type(error).__name__
        raise InputError(f"{path} is not a readable image ({what}); replace the file or remove it") from None


@contextmanager
def decoding(path: Path, admit: Admit = lambda pixels: nullcontext()) -> Iterator[Tensor]:
    """One file, (3, H, W) uint8 RGB, a deep one by the range of its own values.

    Args:
        path: the file.
        admit: entered until the picture is done with.

    Raises:
        InputError: as `decoded`.
    """
    with decoded(path, {}, admit) as picture:
        if picture.pixels is not None:
            yield picture.pixels
            return
    assert picture.depth is not None
    ranges = {picture.depth: choose_range(picture.depth, picture.low, picture.high, str(path))}
    with decoded(path, ranges, admit) as picture:
        assert picture.pixels is not None
        yield picture.pixels


def _decoded(path: Path, data: bytes, image: Image.Image, ranges: Mapping[str, Range]) -> Picture:
    traits = {FRAMES} if getattr(image, "is_animated", False) else set()
    # Pillow turns a TIFF by itself as it loads it, and takes the tag away.
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    stated = tags.get(_ORIENTATION, 1)
    pixels = _decode_jpeg(path, data) if data.startswith(_JPEG) else None
    depth, low, high = None, 0.0, 0.0
    if pixels is None:
        deep_colours = ";16" in _raw_mode(image)
        image.load()
        depth = depth_of(image)
        if depth is None:
            pixels, how = _rgb(image)
            traits |= how | ({HIGH_BYTE} if deep_colours else set())
        else:
            pixels, low, high = _deep(path, image, depth, ranges)
    left = _orientation(image)
    if stated in _TURNS or left in _TURNS:
        traits.add(TURNED)
    if pixels is not None and left in _TURNS:
        pixels = _TURNS[left](pixels).contiguous()
    return Picture(pixels, frozenset(traits), depth, low, high)


def _orientation(image: Image.Image) -> int:
    """EXIF's; of a loaded image, as a PNG is loaded here and its faults would pass for faults of its EXIF."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF does not make a picture unreadable
        return 1
    return value if isinstance(value, int) else 1


def _decode_jpeg(path: Path, data: bytes) -> Tensor | None:
    """(3, H, W) uint8, or None where Pillow must decide."""
    from torchvision.io import ImageReadMode, decode_jpeg  # seconds to import; a run on features needs none

    try:
        return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)
    except RuntimeError as error:
        # Pillow takes zeros in the place of what is missing for image data.
        if "truncated" in str(error):
            raise InputError(
                f"{path} is truncated (its {len(data)} bytes end before the picture does); unpack the archive again"
            ) from None
        return None  # a colour space that torchvision does not know


def _raw_mode(image: Image.Image) -> str:
    """Pillow's word for the samples as they lie in the file."""
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _rgb(image: Image.Image) -> tuple[Tensor, set[str]]:
    traits: set[str] = set()
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        least, most = (int(value) for value in np.asarray(rgba.getchannel("A").getextrema()))
        # An alpha of zero everywhere hides the whole picture: its writer did not mean it.
        if least < 255 and most > 0:
            rgba = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
            traits.add(ON_WHITE)
        image = rgba
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).contiguous(), traits


def _deep(
    path: Path, image: Image.Image, depth: str, ranges: Mapping[str, Range]
) -> tuple[Tensor | None, float, float]:
    values = values_of(image, depth)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise InputError(f"{path} holds {depth} values that are NaN or infinite; save it with 8 bits")
    if depth not in ranges:
        return None, low, high
    grey = to_8_bits(values, ranges[depth])
    pixels = torch.from_numpy(255 - grey if is_negative(image) else grey)
    return pixels.expand(3, *pixels.shape).contiguous(), low, high


def from_pillow(image: Image.Image, name: str = "the picture") -> Tensor:
    """A picture that is in memory already, to (3, H, W) uint8 RGB, as a file of it would be decoded.

    Raises:
        InputError: Pillow cannot read the rest of it, or deep values that no usual range holds.
    """
    try:
        depth = depth_of(image)
        if depth is None:
            pixels, _ = _rgb(image)
        else:
            values = values_of(image, depth)
            if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
                raise InputError(f"{name} holds {depth} values that are NaN or infinite; give it with 8 bits")
            span = choose_range(depth, float(values.min()), float(values.max()), name)
            grey = to_8_bits(values, span)
            pixels = torch.from_numpy(255 - grey if is_negative(image) else grey)
            pixels = pixels.expand(3, *pixels.shape).contiguous()
        left = _orientation(image)
    except InputError:
        raise
    except Exception as error:  # what is damaged surfaces as almost any exception
        raise InputError(f"{name} is not a readable image ({error or type(error).__name__}); replace it") from None
    return _TURNS[left](pixels).contiguous() if left in _TURNS else pixels
