"""The files under a folder, with a word on each that is no picture."""

import os
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pyro_sib.data.pictures.skipped import HIDDEN
from pyro_sib.errors import InputError

_ENDINGS = (
    ".jpg .jpeg .jpe .jfif .png .apng .bmp .dib .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .tga .jp2 .j2k .avif"
)

NO_PICTURE = "no picture by its ending"


def endings() -> frozenset[str]:
    """Those of pictures, in small letters, as far as this Pillow can decode them."""
    return frozenset(_ENDINGS.split()) & Image.registered_extensions().keys()


def list_folder(folder: Path) -> list[os.DirEntry[str]]:
    """Its entries by name.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); check its permissions") from None


def walk(
    folder: Path, known: frozenset[str] | None = None, above: frozenset[str] = frozenset()
) -> Iterator[tuple[Path, str]]:
    """Every file below `folder` in the order of names, with the reason not to read it ("" for a picture).

    Links are followed, but not in circles; hidden folders and what is no regular file count as one entry each.

    Args:
        folder: where to begin.
        known: endings of pictures.
        above: real paths of the folders on the way here.

    Raises:
        InputError: a folder that cannot be read.
    """
    known, above = known or endings(), above | {os.path.realpath(folder)}
    for entry in list_folder(folder):
        path = Path(entry.path)
        if entry.name.startswith("."):
            yield path, HIDDEN
        elif is_folder(entry):
            if entry.is_symlink() and _is_above(os.path.realpath(path), above):
                yield path, "a link to a folder above it"
            else:
                yield from walk(path, known, above)
        elif not os.path.exists(path):
            yield path, "a link to nothing"
        elif not os.path.isfile(path):
            yield path, "no regular file"
        else:
            yield path, "" if path.suffix.lower() in known else NO_PICTURE


def _is_above(target: str, folders: frozenset[str]) -> bool:
    return any(f"{folder}{os.sep}".startswith(f"{target.rstrip(os.sep)}{os.sep}") for folder in folders)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
