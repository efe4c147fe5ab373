"""The form train/, val/ and test/ with one folder of images for each class."""

from pathlib import Path

from pyro_sib.data.dataset import TEST, VAL
from pyro_sib.data.listing import BASE, Found, Listing, list_files
from pyro_sib.errors import InputError

LOOKS_FOR = "train/, val/ or test/ with a folder of images for each class"
_FOLDERS = {"train": BASE, "val": VAL, "test": TEST}
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp"}


def is_class_folders(root: Path) -> bool:
    """Whether any of the three folders lies under `root`."""
    return any((root / name).is_dir() for name in _FOLDERS)


def read_class_folders(root: Path) -> Found:
    """List the images of every folder there is; classes and images come in the order of their names.

    Raises:
        InputError: a folder without classes, or a class without images.
    """
    return Found({part: _read_folder(root / name) for name, part in _FOLDERS.items() if (root / name).is_dir()})


def _read_folder(folder: Path) -> Listing:
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not classes:
        raise InputError(
            f"{folder} holds no class folder; expected {folder.name}/CLASS/IMAGE.jpg, move the images there"
        )
    paths: list[Path] = []
    labels: list[str] = []
    for entry in classes:
        images = sorted(
            path
            for path in entry.iterdir()
            if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
        )
        if not images:
            raise InputError(
                f"class folder {entry} holds no image ({', '.join(sorted(_SUFFIXES))}); "
                f"add images or remove the folder"
            )
        paths += images
        labels += [entry.name] * len(images)
    return list_files(paths, labels, [entry.name for entry in classes])
