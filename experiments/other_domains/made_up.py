"""Domains of pictures made on the spot, so that a learner is trained in more domains than two or three."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import get_data_path
from numpy.random import Generator, default_rng
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pyro_sib.data import BASE_TRAIN, Split
from pyro_sib.data.worlds.synthetic import synthetic_world
from pyro_sib.files import check_writable

EACH = 25
"""Pictures of a class."""
_SIDE = 112
_LETTERS = "ABDEGHJKMNPRSTWX"
_FACES = (
    *(f"DejaVu{face}" for face in ("Sans", "Sans-Bold", "Sans-Oblique", "SansMono", "Serif", "Serif-Italic")),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralBolIta", "STIXGeneralItalic"),
    *("cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)
_CLASSES = 16
Pictures = Iterator[tuple[str, Image.Image]]
"""Names of classes and pictures of them."""


def letters(random: Generator) -> Pictures:
    """Capital letters in the type faces that come with matplotlib, turned, coloured and blurred."""
    folder = Path(get_data_path()) / "fonts" / "ttf"
    for letter in _LETTERS:
        for _ in range(EACH):
            face = ImageFont.truetype(str(folder / f"{random.choice(_FACES)}.ttf"), int(random.integers(36, 84)))
            ground, ink = (tuple(int(v) for v in random.integers(*span, 3)) for span in ((110, 256), (0, 130)))
            paper = Image.new("RGB", (_SIDE, _SIDE), ground)
            at = tuple(_SIDE / 2 + random.uniform(-14, 14, 2))
            ImageDraw.Draw(paper).text(at, letter, ink, face, anchor="mm")
            turned = paper.rotate(float(random.uniform(-25, 25)), Image.Resampling.BILINEAR, fillcolor=ground)
            yield letter, turned.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 2))))


def painted(random: Generator) -> Pictures:
    """Objects of the synthetic world."""
    seed = int(random.integers(2**31))
    data = synthetic_world(seed, _SIDE, 1, 1, _CLASSES, 3, EACH)
    split = data.split("test")
    for picture, label in zip(split.x, split.y.tolist(), strict=True):
        yield split.class_names[label], Image.fromarray(picture.permute(1, 2, 0).numpy())


def handwritten(random: Generator) -> Pictures:
    """The digits that come with scikit-learn, 8 x 8 pixels, enlarged."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for label in range(10):
        for row in random.choice(np.flatnonzero(digits.target == label), 2 * EACH, replace=False):
            picture = Image.fromarray((255 - 15.9 * digits.images[row]).astype(np.uint8))
            yield str(label), picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC).convert("RGB")


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
    side = pixels.shape[0] // 4
    order = default_rng(0).permutation(16)
    rows = [
        np.concatenate(
            [
                pixels[side * (k // 4) : side * (k // 4 + 1), side * (k % 4) : side * (k % 4 + 1)]
                for k in order[4 * r : 4 * r + 4]
            ],
            1,
        )
        for r in range(4)
    ]
    return Image.fromarray(np.concatenate(rows))


_OWN = {"letters": letters, "painted": painted, "handwritten": handwritten}
_SPOILED = {"edges": edges, "coarse": coarse, "tiles": tiles}
NAMES: Sequence[str] = (*_OWN, *_SPOILED)


def write_domains(out: Path, known: Split | None, names: Sequence[str] = NAMES, seed: int = 0) -> None:
    """Write a folder of class folders for each domain; one that is there is left as it is.

    Args:
        out: folder of the domains.
        known: images (n, 3, S, S) that `edges`, `coarse` and `tiles` are made of, of other classes each.
        names: of the domains.
        seed: of all that is drawn.
    """
    check_writable(out, "--out")
    for name in names:
        folder = out / name
        if folder.exists():
            continue
        random = default_rng([seed, NAMES.index(name)])
        pictures = _OWN[name](random) if name in _OWN else _spoiled(name, known)
        part = folder.with_suffix(".part")
        for number, (label, picture) in enumerate(pictures):
            path = part / label / f"{number:05}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        part.rename(folder)


def _spoiled(name: str, known: Split | None) -> Pictures:
    """Classes of `known`, other ones for each way of spoiling."""
    assert known is not None
    first = _CLASSES * list(_SPOILED).index(name)
    for label in range(first, min(first + _CLASSES, len(known.class_names))):
        for row in torch.nonzero(known.y == label)[-EACH:, 0].tolist():
            picture = Image.fromarray(known.x[row].permute(1, 2, 0).numpy())
            yield known.class_names[label], _SPOILED[name](picture)


__all__ = ["BASE_TRAIN", "NAMES", "write_domains"]
