"""One small world of images, written in every form that the readers know."""

import csv
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SIZE = 12
CLASSES = {
    "train": ["n011", "n012", "n013"],
    "val": ["n021", "n022"],
    "test": ["n031", "n032"],
}
PER_CLASS = {"train": 12, "val": 4, "test": 5}
GIDARIS = "miniImageNet_category_split_"


class World:
    """Random images (C, n, S, S, 3) of each list, and writers of every form."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.images = {
            name: rng.integers(0, 256, (len(CLASSES[name]), PER_CLASS[name], SIZE, SIZE, 3), dtype=np.uint8)
            for name in CLASSES
        }

    def _items(self, name: str) -> list[tuple[str, str, np.ndarray]]:
        return [
            (label, f"{label}{i:04d}.png", image)
            for label, images in zip(CLASSES[name], self.images[name], strict=True)
            for i, image in enumerate(images)
        ]

    def write_csv(self, root: Path, interleaved: bool = False) -> Path:
        (root / "images").mkdir(parents=True)
        for name in CLASSES:
            items = self._items(name)
            if interleaved:
                items = [item for i in range(PER_CLASS[name]) for item in items[i :: PER_CLASS[name]]]
            with (root / f"{name}.csv").open("w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["filename", "label"])
                table.writerows((filename, label) for label, filename, _ in items)
            for _, filename, image in items:
                Image.fromarray(image).save(root / "images" / filename)
        return root

    def write_folders(self, root: Path) -> Path:
        for name in CLASSES:
            for label, filename, image in self._items(name):
                (root / name / label).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(root / name / label / filename)
        return root

    def write_cache(self, root: Path, dump: Callable[[Any], bytes] = pickle.dumps) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        for name, images in self.images.items():
            n = PER_CLASS[name]
            rows = {label: list(range(c * n, (c + 1) * n)) for c, label in enumerate(CLASSES[name])}
            content = {"image_data": images.reshape(-1, SIZE, SIZE, 3), "class_dict": rows}
            (root / f"mini-imagenet-cache-{name}.pkl").write_bytes(dump(content))
        return root

    def write_gidaris(self, root: Path, extra: bool = False, dump: Callable[[Any], bytes] = pickle.dumps) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        first = {"train": 0, "val": 64, "test": 80}
        base = self.images["train"]
        files = {"train_phase_train": ("train", base[:, :10] if extra else base)}
        if extra:
            files["train_phase_val"] = ("train", base[:, 10:11])
            files["train_phase_test"] = ("train", base[:, 11:])
        files |= {"val": ("val", self.images["val"]), "test": ("test", self.images["test"])}
        for stem, (name, images) in files.items():
            labels = [first[name] + c for c in range(len(images)) for _ in range(images.shape[1])]
            content = {
                "data": images.reshape(-1, SIZE, SIZE, 3),
                "labels": labels,
                "catname2label": {label: first[name] + c for c, label in enumerate(CLASSES[name])},
            }
            (root / f"{GIDARIS}{stem}.pickle").write_bytes(dump(content))
        return root


@pytest.fixture
def world() -> World:
    return World()


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2 and numpy 1 wrote: byte strings, 0 and 1 for booleans, numpy.core."""

    dispatch = pickle._Pickler.dispatch.copy()

    def _save_text(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        self.write(pickle.BINSTRING + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    def _save_bool(self, value: bool) -> None:
        self.write(pickle.BININT1 + bytes([value]))

    dispatch[str] = dispatch[bytes] = _save_text
    dispatch[bool] = _save_bool


@pytest.fixture
def dump_python2(tmp_path: Path) -> Callable[[Any], bytes]:
    def dump(value: Any) -> bytes:
        path = tmp_path / "python2.tmp"
        with path.open("wb") as file:
            _Python2Pickler(file, protocol=2).dump(value)
        return path.read_bytes().replace(b"numpy._core", b"numpy.core")

    return dump


@pytest.fixture
def features() -> dict[str, np.ndarray]:
    """Arrays for an .npz of features: 3 base, 2 val and 2 test classes of 6 rows."""
    rng = np.random.default_rng(1)
    return {
        array: value
        for name, classes in (("train", 3), ("val", 2), ("test", 2))
        for array, value in (
            (f"{name}_x", rng.normal(size=(6 * classes, 5)).astype(np.float32)),
            (f"{name}_y", np.repeat(np.arange(classes), 6)),
        )
    }
