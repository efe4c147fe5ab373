"""Painted pictures in the folders that classify reads."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pyro_sib.data.worlds.synthetic import TRAITS, paint
from pyro_sib.experiments.example_pictures import ExampleSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable

KINDS, STRANGE = ("ash", "birch", "cedar", "elm", "fir"), 2
"""Names of the labeled kinds, and how many others there are."""
_JITTER = 0.3
"""By which pictures of a kind differ, a third of what they do in the world that learners are trained on."""


def paint_example(settings: ExampleSettings, reporter: Reporter | None = None) -> Path:
    """Write OUT/labeled/KIND/*.png and OUT/pile/*.png, the pile in random order; returns OUT.

    Raises:
        InputError: the disk takes no more.
    """
    reporter = reporter or Reporter()
    check_writable(settings.out, "--out")
    generator = torch.Generator().manual_seed(settings.seed)
    centres = torch.randn(len(KINDS) + STRANGE, len(TRAITS), generator=generator)
    kinds = torch.arange(len(KINDS)).repeat_interleave(settings.labeled)
    for number, picture in enumerate(paint(centres[kinds], settings.image_size, generator, _JITTER)):
        kind, place = KINDS[int(kinds[number])], number % settings.labeled + 1
        _save(picture, settings.out / "labeled" / kind / f"{place}.png")
    of_pile = torch.cat(
        [torch.arange(settings.pile) % len(KINDS), len(KINDS) + torch.arange(settings.strange) % STRANGE]
    )
    of_pile = of_pile[torch.randperm(len(of_pile), generator=generator)]
    for number, picture in enumerate(paint(centres[of_pile], settings.image_size, generator, _JITTER), 1):
        _save(picture, settings.out / "pile" / f"{number:03d}.png")
    count = len(of_pile)
    reporter.say(f"{settings.out}/labeled has {len(KINDS)} kinds, {settings.out}/pile {count} pictures; now run")
    reporter.say(f"python -m experiments.classify --labeled {settings.out}/labeled --unlabeled {settings.out}/pile")
    return settings.out


def _save(picture: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.permute(1, 2, 0).numpy()).save(path)
