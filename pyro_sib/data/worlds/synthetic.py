"""The embedded default data set: a world of painted objects, made from a seed alone."""

import torch
from torch import Tensor

from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.holdout import held_out_counts
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.data.worlds.synthetic_render import HARMONICS, render
from pyro_sib.errors import InputError

JITTER = 0.9
"""Standard deviation of an object's trait about its class's, where that of classes is 1."""

_CHUNK = 1024
_COLOURS = {f"{part}_{channel}": (0.08, 0.92) for part in ("coat", "mark") for channel in "rgb"}
_GROUND = {f"ground_{channel}": (0.25, 0.75) for channel in "rgb"}
_LOBES = {f"lobe{k}_{phase}": (-0.5 / k**0.5, 0.5 / k**0.5) for k in HARMONICS for phase in ("cos", "sin")}
_PARTS = {
    "arm_angle": (-2.6, -0.5),
    "arm_reach": (0.8, 1.3),
    "arm_radius": (-0.1, 0.5),
    "leg_angle": (0.5, 2.6),
    "leg_reach": (0.8, 1.3),
    "leg_radius": (-0.1, 0.5),
}
_BODY = {
    "stretch": (-0.35, 0.35),
    "core": (-0.2, 0.7),
    "rim_dark": (0.0, 1.0),
    "rim_width": (0.05, 0.3),
    "pitch": (0.5, 1.7),
    "slant": (-1.4, 1.4),
    "spots": (0.0, 1.0),
    "bareness": (-0.6, 0.6),
    "contrast": (0.1, 1.0),
    "waviness": (0.0, 0.12),
    "ground_grain": (0.0, 1.0),
}
TRAITS: dict[str, tuple[float, float]] = {**_COLOURS, **_GROUND, **_LOBES, **_PARTS, **_BODY}
"""What tells classes apart: name to the range of the trait over the world (radians, body radii, shares)."""


def synthetic_world(
    seed: int = 0,
    image_size: int = 32,
    base_classes: int = 64,
    val_classes: int = 16,
    test_classes: int = 20,
    images_per_base_class: int = 156,
    images_per_novel_class: int = 100,
) -> DataSet:
    """Draw classes and their images; the same arguments give the same bytes on one machine.

    A class is a point c ~ N(0, I) with one coordinate a trait; an object of it is c + JITTER * N(0, I),
    mapped onto the traits' ranges and painted in a random scene. Base, val and test classes share this
    distribution, so what the base classes teach about scenes serves the others.

    Args:
        seed: any non-negative integer.
        image_size: side S in pixels, at least 8.
        base_classes: classes of the base splits.
        val_classes: classes of val.
        test_classes: classes of test.
        images_per_base_class: at least 3; `held_out_counts` says which are base_val and base_test.
        images_per_novel_class: images of each val and test class.

    Returns:
        Splits base_train, base_val, base_test, val and test of (n, 3, S, S) uint8 images.

    Raises:
        InputError: an argument below its least value.
    """
    least = {
        "seed": (seed, 0),
        "image_size": (image_size, 8),
        "base_classes": (base_classes, 1),
        "val_classes": (val_classes, 1),
        "test_classes": (test_classes, 1),
        "images_per_base_class": (images_per_base_class, 3),
        "images_per_novel_class": (images_per_novel_class, 1),
    }
    for name, (found, low) in least.items():
        if found < low:
            raise InputError(f"synthetic world: {name} must be {low} or more, found {found}; raise {name}")

    generator = torch.Generator().manual_seed(seed)
    base = _draw_split("base", base_classes, images_per_base_class, image_size, generator)
    val = _draw_split("val", val_classes, images_per_novel_class, image_size, generator)
    test = _draw_split("test", test_classes, images_per_novel_class, image_size, generator)
    held, words = _hold_out(base, images_per_base_class)
    splits = {**held, VAL: val, TEST: test}
    return DataSet("synthetic", splits, words, fingerprint(splits))


def _draw_split(kind: str, classes: int, per_class: int, size: int, generator: torch.Generator) -> Split:
    """New classes and `per_class` images of each, grouped by class."""
    centres = torch.randn(classes, len(TRAITS), generator=generator)
    y = torch.arange(classes).repeat_interleave(per_class)
    x = torch.cat([paint(centres[rows], size, generator) for rows in y.split(_CHUNK)])
    return Split(x, y, tuple(f"{kind}-{c:03d}" for c in range(classes)))


def paint(centres: Tensor, size: int, generator: torch.Generator, jitter: float = JITTER) -> Tensor:
    """(n, 3, S, S) uint8: one object about each of the (n, traits) class centres."""
    latent = centres + jitter * torch.randn(centres.shape, generator=generator)
    share = torch.special.ndtr(latent / (1 + jitter**2) ** 0.5)
    traits = {name: low + (high - low) * share[:, i] for i, (name, (low, high)) in enumerate(TRAITS.items())}
    return render(traits, size, generator)


def _hold_out(base: Split, per_class: int) -> tuple[dict[str, Split], str]:
    """Cut each class into base_train, then base_val, then base_test; and the cut in words."""
    val, test = held_out_counts(per_class)
    last = per_class - test
    first = last - val
    place = torch.arange(len(base.y)) % per_class
    parts = {BASE_TRAIN: place < first, BASE_VAL: (first <= place) & (place < last), BASE_TEST: last <= place}
    splits = {name: Split(base.x[rows], base.y[rows], base.class_names) for name, rows in parts.items()}
    return splits, f"images {first}-{last - 1} / {last}-{per_class - 1} of each base class"
