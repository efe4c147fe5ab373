"""The form train/, val/ and test/ with one folder of images for each class."""

from pathlib import Path

from pyro_sib.data.formats.listing import Found, Listing, list_files
from pyro_sib.data.formats.split_names import find_splits, split_named
from pyro_sib.data.formats.tree import endings, is_folder, list_folder, walk
from pyro_sib.data.pictures.skipped import HIDDEN
from pyro_sib.errors import InputError

LOOKS_FOR = "train/, val/ or test/ with a folder of images for each class"


def is_class_folders(root: Path) -> bool:
    """Whether any of the three folders, by any of its names, lies under `root`."""
    return any(split_named(entry.name) for entry in list_folder(root) if is_folder(entry))


def read_class_folders(root: Path) -> Found:
    """List the images of every folder there is; classes and images come in the order of their names.

    Pictures in subfolders of a class folder are pictures of that class.

    Raises:
        InputError: two folders for one split, a folder without classes, or a class without images.
    """
    folders = [entry.name for entry in list_folder(root) if is_folder(entry)]
    splits = find_splits(((name, name) for name in folders), root)
    passed: list[tuple[str, Path]] = []
    parts = {part: list_classes(root / name, passed) for part, name in splits.items()}
    nested = sum(len(Path(path).relative_to(root).parts) > 3 for listing in parts.values() for path in listing.rows)
    notes = (f"{nested} pictures in subfolders of class folders read as of those classes",) if nested else ()
    return Found(parts, passed=tuple(passed), notes=notes, used=tuple(splits.values()))


def list_classes(folder: Path, passed: list[tuple[str, Path]]) -> Listing:
    """List the images of a folder of class folders, in the order of names.

    Args:
        folder: holds a folder for each class.
        passed: takes the reasons and paths of what is not read.

    Raises:
        InputError: no class folder, or a class without images.
    """
    classes: list[Path] = []
    for entry in list_folder(folder):
        if entry.name.startswith("."):
            passed.append((HIDDEN, Path(entry.path)))
        elif is_folder(entry):
            classes.append(Path(entry.path))
        else:
            passed.append(("outside any class folder", Path(entry.path)))
    if not classes:
        raise InputError(
            f"{folder} holds no class folder; expected {folder.name}/CLASS/IMAGE.jpg, move the images there"
        )
    paths: list[Path] = []
    labels: list[str] = []
    for folder_of_class in classes:
        images = _images(folder_of_class, passed)
        paths += images
        labels += [folder_of_class.name] * len(images)
    return list_files(paths, labels, [path.name for path in classes])


def _images(folder: Path, passed: list[tuple[str, Path]]) -> list[Path]:
    images, others = [], []
    for path, reason in walk(folder):
        if reason:
            others.append((reason, path))
        else:
            images.append(path)
    if not images:
        odd = sorted({path.suffix or path.name for _, path in others})[:5]
        raise InputError(
            f"class folder {folder} holds no image ({', '.join(sorted(endings()))}; found "
            f"{', '.join(odd) if odd else 'nothing'}); add images or remove the folder"
        )
    passed += others
    return images
