"""Domains of made pictures in folders that trainings read."""

import shutil
from pathlib import Path

from pyro_sib.data import BASE_TRAIN, Split, read_images
from pyro_sib.errors import InputError
from pyro_sib.experiments.made_pictures import MadePicturesSettings
from pyro_sib.experiments.own_pictures.made_pictures import PAINTED, SPOILED, Pictures, made_pictures
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable

_KNOWN_SIDE = 84
"""Pixels a side of known images."""


def make_pictures(settings: MadePicturesSettings, reporter: Reporter | None = None) -> Path:
    """Write OUT/DOMAIN/CLASS/*.png; returns OUT.

    Raises:
        InputError: known images that cannot be read or are too few, or a disk that takes no more.
    """
    settings.check()
    reporter = reporter or Reporter()
    check_writable(settings.out, "--out")
    known = None if settings.known is None else _known(settings.known, settings.cache_dir, reporter)
    names = (*PAINTED, *(() if known is None else SPOILED))
    made = {settings.out / name: made_pictures(name, known, settings.seed) for name in names}
    for folder, pictures in made.items():
        if not folder.exists():
            _write(pictures, folder)
        reporter.say(f"{folder}")
    return settings.out


def _known(root: Path, cache: Path, reporter: Reporter) -> Split:
    check_writable(cache / "images", "--cache-dir")
    with reporter.stage("data", "known images") as advance, renamed(root="known"):
        data = read_images(root, _KNOWN_SIDE, cache / "images", advance)
    if BASE_TRAIN not in data.splits:
        raise InputError(f"--known: {data.name} has no base classes, as a train list or folder names them")
    return data.split(BASE_TRAIN)


def _write(pictures: Pictures, folder: Path) -> None:
    """All of a domain or nothing."""
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    for number, (label, picture) in enumerate(pictures):
        path = part / label / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    part.rename(folder)
