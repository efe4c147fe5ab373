"""What a reader skipped, scaled or guessed stands in the output and in the result."""

import io
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import Ground, load_data
from pyro_sib.experiments.job.result import Data
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.train import say_selection, selected_on
from pyro_sib.experiments.terminal.progress import Reporter


@pytest.fixture
def root(tmp_path):
    """Class folders of 16-bit pictures, and things beside them."""
    rng = np.random.default_rng(0)
    for split in ("train", "Validation"):
        for c in range(3):
            folder = tmp_path / "root" / split / f"{split}{c}"
            folder.mkdir(parents=True)
            for i in range(4):
                Image.fromarray(rng.integers(0, 65536, (12, 12), dtype=np.uint16)).save(folder / f"{i}.PNG")
    (tmp_path / "root" / "Validation" / "Validation0" / "again.png").write_bytes(
        (tmp_path / "root" / "Validation" / "Validation0" / "0.PNG").read_bytes()
    )
    (tmp_path / "root" / "train" / "train0" / "[").mkdir()
    (tmp_path / "root" / "train" / "train0" / "[" / "bold] photo.heic").write_bytes(b"x")
    (tmp_path / "root" / ".hidden").write_bytes(b"x")
    return tmp_path / "root"


def loaded(root, data):
    written = io.StringIO()
    reporter = Reporter(Console(file=written, width=200))
    settings = RunSettings("standard", data=data, data_root=root, image_size=16, cache_dir=root.parent / "cache")
    found = load_data(settings.resolved(), reporter)
    say_selection(found, reporter)
    lines = written.getvalue().splitlines()
    return (
        found,
        settings,
        [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")],
        lines,
    )


def test_what_was_read_is_said_and_kept(root):
    data, settings, warnings, lines = loaded(root, "folders")
    assert warnings == [
        "1 not read (no picture by its ending): train/train0/[/bold] photo.heic",
        "25 16-bit pictures scaled from 0..65535 to 8 bits (values 3 to 65503)",
        "val: 1 copies inside a class (e.g. row 4 of class Validation0) left out",
    ]
    assert lines[-1] == "the best epoch is chosen on tasks of the 3 validation classes"
    said = asdict(Data.of(Ground(data, data, None, None, None), settings))
    assert said["name"] == "folders"
    assert list(said["notes"]) == warnings[1:]
    assert list(said["skipped"]) == [
        {"reason": "no picture by its ending", "count": 1, "names": ("train/train0/[/bold] photo.heic",)},
        {"reason": "hidden", "count": 1, "names": (".hidden",)},
    ]
    assert selected_on(data) == "validation classes"


def test_other_data_are_refused_where_mini_imagenet_is_named(root):
    with pytest.raises(InputError, match=r"these are not mini-ImageNet's classes; say --data folders$"):
        loaded(root, "mini-imagenet")


def test_data_without_validation_classes(root):
    (root / "Validation").rename(root / "Test")
    data, _, warnings, _ = loaded(root, "folders")
    assert data.name == "folders"
    assert warnings[-1] == (
        "no validation classes found: the best epoch is chosen on tasks of the training classes"
    )
    assert selected_on(data) == "training classes"
