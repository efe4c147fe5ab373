"""Ravi & Larochelle's form: {train,val,test}.csv with columns filename and label, and images/."""

import csv
import os
from pathlib import Path

from pyro_sib.data.dataset import TEST, VAL
from pyro_sib.data.listing import BASE, Found, Listing, list_files
from pyro_sib.data.sniff import read_head
from pyro_sib.errors import InputError

LOOKS_FOR = "train.csv, val.csv or test.csv with images/"
_LISTS = {"train.csv": BASE, "val.csv": VAL, "test.csv": TEST}


def is_csv_images(root: Path) -> bool:
    """Whether any of the lists lies under `root`."""
    return any((root / name).is_file() for name in _LISTS)


def read_csv_images(root: Path) -> Found:
    """List the images of every csv there is, all of them known to exist.

    Classes come in the order in which the list first names them.

    Raises:
        InputError: no images/, a csv without the two columns or without rows, or a missing file.
    """
    folder = root / "images"
    lists = [name for name in _LISTS if (root / name).is_file()]
    if not folder.is_dir():
        raise InputError(
            f"{root} has {lists[0]} but no images/ folder; unpack the archive there or pass --data-root"
        )
    present = {entry.name for entry in os.scandir(folder)}
    return Found({_LISTS[name]: _read_list(root / name, folder, present) for name in lists})


def _read_list(path: Path, folder: Path, present: set[str]) -> Listing:
    names, labels = _columns(path)
    for name in names:
        # `present` spares a system call a file; names in subfolders are looked up.
        if name not in present and not (folder / name).is_file():
            raise InputError(
                f"{path.name} lists {name} but images/ has no such file; unpack the archive or pass --data-root"
            )
    return list_files((f"{folder}/{name}" for name in names), labels, list(dict.fromkeys(labels)))


def _columns(path: Path) -> tuple[list[str], list[str]]:
    read_head(path, "a csv list")
    names, labels = [], []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            header = table.fieldnames or []
            if not {"filename", "label"} <= set(header):
                raise InputError(
                    f"{path} must have the columns filename,label but has {','.join(header)}; add that header"
                )
            for row in table:
                if not row["filename"] or not row["label"]:
                    raise InputError(f"{path} line {table.line_num} lacks a filename or a label; mend that line")
                names.append(row["filename"])
                labels.append(row["label"])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv list ({error}); download it again") from None
    if not names:
        raise InputError(f"{path} lists no image; download it again or remove it")
    return names, labels
