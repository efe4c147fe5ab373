"""Domains of pictures that the project makes: letters and objects that it paints, and known images spoiled."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from numpy.random import Generator, default_rng
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pyro_sib.data.dataset import Split
from pyro_sib.data.names import TEST
from pyro_sib.data.worlds.synthetic import synthetic_world
from pyro_sib.errors import InputError, argument

_EACH, _CLASSES = 25, 16
"""Pictures of a class, and classes of a domain."""
_SIDE = 112
_LETTERS = "ABDEGHJKMNPRSTWX"
_FACES = (
    *(f"DejaVu{face}" for face in ("Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "Serif", "Serif-Italic")),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
"""Of those that come with matplotlib."""
Pictures = Iterator[tuple[str, Image.Image]]
"""Names of classes, and pictures of them."""


def letters(random: Generator) -> Pictures:
    """Capital letters in many type faces, turned, coloured and blurred."""
    fonts = Path(get_data_path()) / "fonts" / "ttf"
    for letter in _LETTERS:
        for _ in range(_EACH):
            face = ImageFont.truetype(str(fonts / f"{random.choice(_FACES)}.ttf"), int(random.integers(36, 84)))
            ground, ink = (tuple(random.integers(*span, 3).tolist()) for span in ((110, 256), (0, 130)))
            paper = Image.new("RGB", (_SIDE, _SIDE), ground)
            right, down = (_SIDE / 2 + random.uniform(-14, 14, 2)).tolist()
            ImageDraw.Draw(paper).text((right, down), letter, ink, face, anchor="mm")
            turned = paper.rotate(float(random.uniform(-25, 25)), Image.Resampling.BILINEAR, fillcolor=ground)
            yield letter, turned.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 2))))


def painted(random: Generator) -> Pictures:
    """Objects of the synthetic world."""
    world = synthetic_world(int(random.integers(2**31)), _SIDE, 1, 1, _CLASSES, 3, _EACH).split(TEST)
    for picture, label in zip(world.x, world.y.tolist(), strict=True):
        yield world.class_names[label], Image.fromarray(picture.permute(1, 2, 0).numpy())


def edges(picture: Image.Image) -> Image.Image:
    """Lines where the brightness changes, dark on white."""
    grey = np.asarray(picture.convert("L").filter(ImageFilter.GaussianBlur(1)), np.float32)
    down, across = np.gradient(grey)
    return Image.fromarray((255 - 6 * np.hypot(down, across)).clip(0, 255).astype(np.uint8)).convert("RGB")


def coarse(picture: Image.Image) -> Image.Image:
    """Twelve pixels a side."""
    return picture.resize((12, 12), Image.Resampling.BOX).resize(picture.size, Image.Resampling.BICUBIC)


def tiles(picture: Image.Image) -> Image.Image:
    """A negative, cut into 4 x 4 tiles that are laid in another order."""
    pixels = 255 - np.asarray(picture)
    side, order = pixels.shape[0] // 4, default_rng(0).permutation(16)
    cut = [pixels[side * (k // 4) :, side * (k % 4) :][:side, :side] for k in order]
    return Image.fromarray(np.concatenate([np.concatenate(cut[4 * row :][:4], 1) for row in range(4)]))


PAINTED: dict[str, Callable[[Generator], Pictures]] = {"letters": letters, "painted": painted}
"""By name, of numbers that are drawn."""
SPOILED: dict[str, Callable[[Image.Image], Image.Image]] = {"edges": edges, "coarse": coarse, "tiles": tiles}
"""By name, of a known image."""


def made_pictures(name: str, known: Split | None, seed: int = 0) -> Pictures:
    """The pictures of a made domain; the same arguments give the same ones.

    Args:
        name: one of `PAINTED` or of `SPOILED`.
        known: images (n, 3, S, S) uint8 that the spoiled ones are made of, the last ones of other classes for each.
        seed: of all that is drawn.

    Raises:
        InputError: known images are needed and too few.
    """
    if name in PAINTED:
        return PAINTED[name](default_rng([seed, list(PAINTED).index(name)]))
    first, least = _CLASSES * list(SPOILED).index(name), _CLASSES * len(SPOILED)
    if known is None or len(known.class_names) < least or int(known.counts.min()) < _EACH:
        raise InputError(
            f"{name} is made of {least} known classes of {_EACH} images or more; give them as {argument('known')}"
        )
    return _spoiled(SPOILED[name], known, first)


def _spoiled(spoil: Callable[[Image.Image], Image.Image], known: Split, first: int) -> Pictures:
    for label in range(first, first + _CLASSES):
        for row in (known.y == label).nonzero()[-_EACH:, 0].tolist():
            yield known.class_names[label], spoil(Image.fromarray(known.x[row].permute(1, 2, 0).numpy()))
