"""Folders of links to the pictures of a pile, by predicted class."""

import os
import shutil
from pathlib import Path

from pyro_sib.experiments.own_pictures.outcome import Outcome, by_confidence

FOLDER = "by-class"


def write_links(outcome: Outcome, out: Path) -> None:
    """A folder for each class, the surest picture first by its name; replaces those of an earlier time.

    Raises:
        OSError: the disk does not take them.
    """
    new, folder = out / f".writing-{FOLDER}", out / FOLDER
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for number, name in enumerate(_names(outcome.judged.classes)):
        (new / name).mkdir()
        for place, row in enumerate(by_confidence(outcome.judged, number), 1):
            path = outcome.pile[row].path
            if path is not None:
                (new / name / f"{place:04d}-{path.name}"[-200:]).symlink_to(os.path.abspath(path))
    if folder.exists():
        _remove_links(folder)
    new.rename(folder)


def _remove_links(folder: Path) -> None:
    """Only what was written here goes: links, and folders that are then empty."""
    for inner in folder.iterdir():
        for path in inner.iterdir():
            if path.is_symlink():
                path.unlink()
        inner.rmdir()
    folder.rmdir()


def _names(classes: tuple[str, ...]) -> list[str]:
    """Of folders, each different: without what a folder's name cannot hold."""
    found: list[str] = []
    for name in classes:
        plain = "".join("_" if c in '/\\:*?"<>|' or ord(c) < 32 else c for c in name)[:100].strip(". ") or "_"
        while plain in found:
            plain += "_"
        found.append(plain)
    return found
