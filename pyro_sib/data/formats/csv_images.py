"""Ravi & Larochelle's form: {train,val,test}.csv with columns filename and label, and images/."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyro_sib.data.formats.csv_table import read_columns
from pyro_sib.data.formats.listing import Found, Listing, list_files
from pyro_sib.data.formats.split_names import find_splits, split_named
from pyro_sib.data.formats.tree import list_folder, walk
from pyro_sib.data.pictures.skipped import printable
from pyro_sib.errors import InputError, argument

LOOKS_FOR = "train.csv, val.csv or test.csv with images/"
_IMAGES = "images"


def is_csv_images(root: Path) -> bool:
    """Whether any of the lists, by any of its names, lies under `root`."""
    return any(split_named(stem) for stem, _ in _lists(root))


def read_csv_images(root: Path) -> Found:
    """List the images of every csv there is, all of them known to exist.

    A name is that of a file in images/, or else under `root`, or a whole path. Classes come in the order in which
    the list first names them.

    Raises:
        InputError: two lists of one split, a csv without the two columns or without rows, or a missing file.
    """
    splits = find_splits(_lists(root), root)
    images = root / _IMAGES
    # Known at once, which spares a system call a file.
    present = {entry.name for entry in list_folder(images) if entry.is_file()} if images.is_dir() else set()
    parts = {part: _read_list(root, name, present) for part, name in splits.items()}
    listed = {path for listing in parts.values() for path in listing.rows}
    folders = {_IMAGES} | {os.path.relpath(path, root).split(os.sep)[0] for path in listed}
    used = [entry.name for entry in list_folder(root) if entry.name in folders]
    passed = tuple(_unlisted(root, [root / name for name in used if (root / name).is_dir()], listed))
    return Found(parts, passed=passed, used=(*splits.values(), *used))


def _lists(root: Path) -> list[tuple[str, str]]:
    """Stems and names of the csv files under `root`."""
    names = [Path(entry.name) for entry in list_folder(root) if os.path.isfile(entry.path)]
    return [(name.stem, name.name) for name in names if name.suffix.lower() == ".csv"]


def _read_list(root: Path, name: str, present: set[str]) -> Listing:
    names, labels = read_columns(root / name)
    paths = [_resolve(root, name, file, present) for file in names]
    return list_files(paths, labels, list(dict.fromkeys(labels)))


def _resolve(root: Path, name: str, file: str, present: set[str]) -> str:
    """The one path that a cell stands for."""
    images = root / _IMAGES
    if file in present:
        return f"{images}{os.sep}{file}"
    for spelled in (file, file.replace("\\", "/")):
        for folder in (images, root):
            path = str(folder / spelled)  # a whole path stands for itself
            if os.path.isfile(path):
                return path
    if not images.is_dir():
        raise InputError(
            f"{root} has {name} but no images/ folder; unpack the archive there or pass another {argument('root')}"
        )
    raise InputError(
        f"{name} lists {printable(file)} but images/ has no such file; unpack the archive or pass "
        f"another {argument('root')}"
    )


def _unlisted(root: Path, folders: Iterable[Path], listed: set[str]) -> Iterator[tuple[str, Path]]:
    winding = {os.path.realpath(path) for path in listed if not path.startswith(f"{root}{os.sep}") or ".." in path}
    for folder in folders:
        for path, reason in walk(folder):
            if str(path) not in listed and (not winding or os.path.realpath(path) not in winding):
                yield reason or "in no list", path
