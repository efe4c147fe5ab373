"""Which files are labeled pictures of which class, and which are the pile to be classified."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.data.formats.csv_table import read_columns
from pyro_sib.data.formats.tree import endings, is_folder, list_folder, walk
from pyro_sib.data.pictures.skipped import HIDDEN, printable
from pyro_sib.errors import InputError

_LISTS = (("path", "label"), ("filename", "label"))


@dataclass(frozen=True)
class Listed:
    """Files that should be pictures.

    Attributes:
        paths: of all of them.
        labels: the class of each; empty for a pile.
        passed: reasons and paths of what was passed over.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...] = ()
    passed: tuple[tuple[str, Path], ...] = ()

    def __len__(self) -> int:
        """Number of files."""
        return len(self.paths)


def list_labeled(source: Path, pile: Path, out: Path) -> Listed:
    """The labeled pictures of a folder of class folders, or of a csv; classes come in the order of their names.

    Args:
        source: of the labeled pictures.
        pile: what lies in it, where it is below `source`, is unlabeled.
        out: of the results, in which nothing is looked for.

    Raises:
        InputError: no class, only one, a class without a picture, or a csv that names a file that is not there.
    """
    found = _of_csv(source) if source.is_file() else _of_folders(source, [pile, out])
    classes = sorted(set(found.labels))
    if len(classes) < 2:
        raise InputError(
            f"--labeled {source} has one class, {printable(classes[0])}; two or more are needed, so add a class"
        )
    order = sorted(range(len(found.paths)), key=lambda row: found.labels[row])  # stable
    return Listed(tuple(found.paths[i] for i in order), tuple(found.labels[i] for i in order), found.passed)


def _of_folders(source: Path, others: list[Path]) -> Listed:
    apart = [real for real in (_below(other, source) for other in others) if real]
    folders = [Path(entry.path) for entry in list_folder(source) if is_folder(entry) and entry.name[0] != "."]
    folders = [folder for folder in folders if os.path.realpath(folder) not in apart]
    if not folders:
        raise InputError(
            f"--labeled {source} holds no class folder; make {source}/CLASS/ for each class and move a few "
            f"pictures of it there"
        )
    paths: list[Path] = []
    labels: list[str] = []
    passed: list[tuple[str, Path]] = []
    for folder in folders:
        pictures, odd = _pictures(folder, apart)
        passed += odd
        if not pictures:
            raise InputError(
                f"class folder {folder} holds no picture ({', '.join(sorted(endings()))}); add one or remove the "
                f"folder"
            )
        paths += pictures
        labels += [folder.name] * len(pictures)
    return Listed(tuple(paths), tuple(labels), tuple(passed))


def _of_csv(source: Path) -> Listed:
    names, labels = _columns(source)
    paths = tuple(_resolve(source, name) for name in names)
    return Listed(paths, tuple(labels))


def _columns(source: Path) -> tuple[list[str], list[str]]:
    """Of either form of the list; the error speaks of the first."""
    try:
        return read_columns(source, _LISTS[0])
    except InputError:
        try:
            return read_columns(source, _LISTS[1])
        except InputError:
            pass
        raise


def _resolve(source: Path, name: str) -> Path:
    for spelled in (name, name.replace("\\", "/")):
        for path in (source.parent / spelled, Path(spelled)):
            if path.is_file():
                return path
    raise InputError(
        f"{source} lists {printable(name)}, but there is no such file; mend the path or remove the line"
    )


def list_pile(source: Path, labeled: Path, out: Path) -> Listed:
    """The pictures to classify: all below `source`, or, where that holds the class folders, those outside of them.

    Args:
        source: folder of the pile.
        labeled: source of the labeled pictures.
        out: of the results, in which nothing is looked for.

    Raises:
        InputError: there is none.
    """
    apart = [one for one in (_below(out, source),) if one]
    if labeled.is_dir() and os.path.samefile(labeled, source):
        apart += [os.path.realpath(e.path) for e in list_folder(source) if is_folder(e) and e.name[0] != "."]
    pictures, passed = _pictures(source, apart)
    if not pictures:
        where = " outside its class folders" if len(apart) > (_below(out, source) is not None) else ""
        raise InputError(
            f"--unlabeled {source} holds no picture{where} ({', '.join(sorted(endings()))}); put the pictures to "
            f"classify there"
        )
    return Listed(tuple(pictures), (), tuple(passed))


def _pictures(folder: Path, apart: Iterable[str]) -> tuple[list[Path], list[tuple[str, Path]]]:
    pictures: list[Path] = []
    passed: list[tuple[str, Path]] = []
    for path, reason in _outside(walk(folder), [*apart]):
        if not reason:
            pictures.append(path)
        elif reason != HIDDEN:  # systems write these by themselves
            passed.append((reason, path))
    return pictures, passed


def _outside(found: Iterator[tuple[Path, str]], apart: list[str]) -> Iterator[tuple[Path, str]]:
    for path, reason in found:
        real = os.path.join(os.path.realpath(path.parent), path.name) if apart else ""
        if not any(real.startswith(f"{folder}{os.sep}") for folder in apart):
            yield path, reason


def _below(inner: Path, outer: Path) -> str | None:
    """The real path of `inner` where it lies below `outer`."""
    real, above = os.path.realpath(inner), os.path.realpath(outer)
    return real if real.startswith(f"{above.rstrip(os.sep)}{os.sep}") else None
