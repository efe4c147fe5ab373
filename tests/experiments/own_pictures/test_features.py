"""Features of one's own in files of each kind, by row and by path; networks in place of the learner's."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyro_sib.errors import InputError
from pyro_sib.experiments.own_pictures import pictures as decoding
from pyro_sib.experiments.own_pictures.classify import classify
from pyro_sib.experiments.own_pictures.own_features import read_by_path, read_own_features
from tests.experiments.own_pictures.test_classify import COLOURS, make_world, settings_for

X = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
Y, NAMES = ["a", "a", "b", "b"], ["1.png", "2.png", "3.png", "4.png"]


def npz(path: Path) -> Path:
    np.savez(path, x=X, y=Y, names=NAMES)
    return path


def safetensors(path: Path) -> Path:
    save_file({"x": torch.from_numpy(X)}, path, metadata={"y": json.dumps(Y), "names": json.dumps(NAMES)})
    return path


def half_precision(path: Path) -> Path:
    """With numbers for classes, as safetensors can hold them itself."""
    save_file({"features": torch.from_numpy(X).bfloat16(), "y": torch.tensor([0, 0, 1, 1])}, path)
    return path


def lists(path: Path) -> Path:
    """A parquet file with a column of lists."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"path": NAMES, "label": Y, "embedding": X.tolist()}), path)
    return path


def columns(path: Path) -> Path:
    """A parquet file with a column for each number."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table({"path": NAMES, "label": Y, **{f"f{i}": X[:, i] for i in range(6)}}), path)
    return path


@pytest.mark.parametrize(
    ("write", "name"),
    [(npz, "f.npz"), (safetensors, "f.safetensors"), (lists, "f.parquet"), (columns, "g.parquet")],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, write, name):
    path = write(tmp_path / name)
    rows = read_own_features(path, "--labeled", None, labeled=True)
    np.testing.assert_allclose(torch.stack([row.features for row in rows]), X)
    assert [row.label for row in rows] == Y
    assert [row.name for row in rows] == NAMES
    by_path = read_by_path(path)
    assert {Path(real).name for real in by_path} == set(NAMES)


def test_numbers_for_classes_and_short_floats_serve(tmp_path):
    rows = read_own_features(half_precision(tmp_path / "h.safetensors"), "--labeled", None, labeled=True)
    assert [row.label for row in rows] == ["0", "0", "1", "1"]
    assert rows[0].name.endswith("h.safetensors:0")


@pytest.mark.parametrize("name", ["f.npz", "f.safetensors", "f.parquet"])
def test_a_damaged_file_is_named(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=name):
        read_own_features(tmp_path / name, "--unlabeled", None, labeled=False)


def test_what_is_missing_is_named(tmp_path):
    for content, why in (
        (b"hello", "something else"),
        (b"", "it is empty"),
        (b"\x93NUMPY\x01\x00", "one bare array"),
    ):
        (tmp_path / "f.npz").write_bytes(content)
        with pytest.raises(InputError, match=f"--unlabeled .*f.npz is not a readable .npz file .*{why}"):
            read_own_features(tmp_path / "f.npz", "--unlabeled", None, labeled=False)
    np.savez(tmp_path / "f.npz", z=X)
    with pytest.raises(InputError, match=r"f.npz has no x or features or embedding \(it has z\)"):
        read_own_features(tmp_path / "f.npz", "--unlabeled", None, labeled=False)
    np.savez(tmp_path / "f.npz", x=X, names=["1.png"] * 4)
    with pytest.raises(InputError, match=r"f.npz has 1.png twice"):
        read_by_path(tmp_path / "f.npz")


def test_features_by_path_take_the_networks_place(tmp_path, monkeypatch):
    make_world(tmp_path, labeled=2, pile=4)
    monkeypatch.setattr(decoding, "extract", None)
    paths = sorted(tmp_path.rglob("*.png"))
    kinds = [
        list(COLOURS).index(path.parent.name) if path.parent.name in COLOURS else int(path.name[0])
        for path in paths
    ]
    x = np.eye(9)[kinds] + 0.1 * np.random.default_rng(1).normal(size=(len(paths), 9))
    names = [str(path.relative_to(tmp_path)) for path in paths]
    np.savez(tmp_path / "f.npz", x=x[1:], names=names[1:])
    settings = settings_for(tmp_path, Path("lite0"), features=str(tmp_path / "f.npz"), to_label=2)
    outcome = classify(settings)
    assert [path for path, _ in outcome.left.unreadable] == [str(paths[0])], "the one without a row"
    right = [outcome.judged.classes[int(best)] for best in outcome.judged.best]
    assert right == [list(COLOURS)[int(Path(row.name).name[0])] for row in outcome.pile]
    assert all(row.entry is not None for row in outcome.pile), "pictures are shown in the report"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"features": "lite9"}, "lite9: there is no such network; choose one of lite0, lite2, timm:NAME"),
        ({"features": "gone.npz"}, "--features gone.npz is no file"),
    ],
)
def test_unknown_features_are_refused_before_any_picture(tmp_path, changes, says):
    make_world(tmp_path, labeled=1, pile=1)
    with pytest.raises(InputError, match=says):
        settings_for(tmp_path, Path("lite0"), **changes).check()


def test_a_learner_of_one_network_takes_no_other_features(tmp_path):
    make_world(tmp_path, labeled=1, pile=1)
    name = "mini-imagenet-c128f-1shot"
    with pytest.raises(InputError, match=f"--learner {name} knows its own features alone"):
        settings_for(tmp_path, Path(name), features="lite0").check()


def test_labeled_and_pile_have_features_of_one_size(tmp_path):
    npz(tmp_path / "l.npz")
    np.savez(tmp_path / "p.npz", x=X[:, :5])
    settings = settings_for(
        tmp_path, Path("lite0"), labeled=tmp_path / "l.npz", unlabeled=tmp_path / "p.npz", to_label=1
    )
    with pytest.raises(InputError, match=r"l.npz has features of 6 numbers and --unlabeled .*p.npz of 5"):
        classify(settings)
