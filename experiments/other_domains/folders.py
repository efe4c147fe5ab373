"""Which folders are domains, and whether their classes have pictures enough."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyro_sib.data.formats.class_folders import list_classes
from pyro_sib.data.formats.listing import Found, Listing
from pyro_sib.data.formats.tree import endings, is_folder, list_folder
from pyro_sib.data.names import TEST
from pyro_sib.errors import InputError, argument
from pyro_sib.experiments.other_domains.grid import Form


@dataclass(frozen=True)
class DomainFolder:
    """A folder of class folders.

    Attributes:
        name: of the domain.
        path: of the folder.
        found: its pictures, all under `test`.
    """

    name: str
    path: Path
    found: Found

    @property
    def listing(self) -> Listing:
        """The pictures with their classes."""
        return self.found.parts[TEST]


def find_domains(folders: Sequence[Path]) -> list[DomainFolder]:
    """The domains in these folders: each is one, or holds several.

    A folder is a domain where a folder in it holds pictures.

    Raises:
        InputError: no folder, or one without class folders; a domain given twice.
    """
    paths = [path for folder in folders for path in _domains_in(folder)]
    names = named_apart(argument("domains"), paths)
    return [DomainFolder(name, path, _listed(path)) for name, path in zip(names, paths, strict=True)]


def named_apart(what: str, paths: Sequence[Path]) -> list[str]:
    """A name for each path, no two the same: its stem, or all of it where two stems are alike.

    Args:
        what: the paths are given by, for the error.
        paths: of folders or files.

    Raises:
        InputError: a path twice.
    """
    whole = [path.resolve() for path in paths]
    if len(set(whole)) < len(whole):
        raise InputError(f"{what} names {max(whole, key=whole.count)} twice; name each once")
    short = [path.name if path.is_dir() else path.stem for path in whole]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _domains_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise InputError(f"{argument('domains')} {folder} {what}; give a folder with a folder of pictures a class")
    if _has_class_folders(folder):
        return [folder]
    if not (inside := [path for path in _folders_in(folder) if _has_class_folders(path)]):
        raise InputError(
            f"{argument('domains')} {folder} holds no class folders; expected CLASS/IMAGE.jpg in it, "
            f"or DOMAIN/CLASS/IMAGE.jpg"
        )
    return inside


def _has_class_folders(folder: Path) -> bool:
    known = endings()
    return any(
        Path(entry.name).suffix.lower() in known and not entry.name.startswith(".") and not is_folder(entry)
        for inside in _folders_in(folder)
        for entry in list_folder(inside)
    )


def _folders_in(folder: Path) -> list[Path]:
    return [Path(e.path) for e in list_folder(folder) if is_folder(e) and not e.name.startswith(".")]


def _listed(folder: Path) -> Found:
    passed: list[tuple[str, Path]] = []
    return Found({TEST: list_classes(folder, passed)}, passed=tuple(passed))


def check_enough(name: str, class_names: Sequence[str], counts: Sequence[int], forms: Sequence[Form]) -> None:
    """Refuse a domain whose classes or rows do not suffice for tasks of these forms.

    Args:
        name: of the domain.
        class_names: C names.
        counts: rows of each class.
        forms: of the tasks.

    Raises:
        InputError: fewer classes than a task has, or a class without a row to ask about beside the labeled ones.
    """
    ways, shots = max(form.ways for form in forms), max(form.most_shots for form in forms)
    if len(class_names) < ways:
        raise InputError(
            f"the domain {name} has {len(class_names)} classes, fewer than the {ways} of a task; "
            f"lower {argument('ways')}, or leave the domain out"
        )
    if min(counts) < shots + 1:
        least = min(range(len(counts)), key=lambda c: counts[c])
        raise InputError(
            f"class {class_names[least]} of the domain {name} has {counts[least]} pictures, but {shots} labeled "
            f"ones and one to ask about need {shots + 1}; add pictures, lower {argument('shots')}, or remove it"
        )
