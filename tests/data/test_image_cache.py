"""The cache of decoded images is found again, never stale, and never trusted when damaged."""

import pytest
import torch
from PIL import Image

from pyro_sib.data import read_images
from pyro_sib.data import readers as readers_module
from pyro_sib.data.names import BASE_TRAIN, VAL
from pyro_sib.errors import InputError


@pytest.fixture
def decoded(monkeypatch):
    """How many splits were decoded."""
    calls = []
    decode = readers_module.to_images
    monkeypatch.setattr(readers_module, "to_images", lambda *args: calls.append(args[1]) or decode(*args))
    return calls


def same(a, b):
    assert (a.name, a.base_holdout, a.fingerprint) == (b.name, b.base_holdout, b.fingerprint)
    assert list(a.splits) == list(b.splits)
    for name, split in a.splits.items():
        assert torch.equal(split.x, b.splits[name].x)
        assert torch.equal(split.y, b.splits[name].y)
        assert split.class_names == b.splits[name].class_names


@pytest.mark.parametrize("form", ["csv", "cache"])
def test_a_hit_equals_the_first_read(world, tmp_path, decoded, form):
    root = getattr(world, f"write_{form}")(tmp_path / "root")
    first = read_images(root, 6, tmp_path / "cache")
    assert len(decoded) == 5
    same(first, read_images(root, 6, tmp_path / "cache"))
    assert len(decoded) == 5
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_moved_data_is_found_again(world, tmp_path, decoded):
    root = world.write_csv(tmp_path / "root")
    first = read_images(root, 6, tmp_path / "cache")
    same(first, read_images(root.rename(tmp_path / "elsewhere"), 6, tmp_path / "cache"))
    assert len(decoded) == 5


def test_a_changed_image_is_read_again(world, tmp_path, decoded):
    root = world.write_csv(tmp_path / "root")
    first = read_images(root, 6, tmp_path / "cache")
    Image.new("RGB", (12, 12)).save(root / "images" / "n0210001.png")
    second = read_images(root, 6, tmp_path / "cache")
    assert len(decoded) == 10
    assert first.fingerprint != second.fingerprint
    assert not second.split(VAL).x[1].any()


def test_another_size_is_another_key(world, tmp_path, decoded):
    root = world.write_csv(tmp_path / "root")
    sizes = {read_images(root, size, tmp_path / "cache").split(BASE_TRAIN).x.shape[-1] for size in (6, 8)}
    assert sizes == {6, 8}
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_changed_labels_are_another_key(world, tmp_path):
    root = world.write_csv(tmp_path / "root")
    first = read_images(root, 6, tmp_path / "cache")
    text = (root / "val.csv").read_text().replace("n0210001.png,n021", "n0210001.png,n022")
    (root / "val.csv").write_text(text)
    second = read_images(root, 6, tmp_path / "cache")
    assert second.split(VAL).counts.tolist() == [3, 5]
    assert first.fingerprint != second.fingerprint


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "text"])
def test_a_damaged_cache_is_rebuilt(world, tmp_path, decoded, damage):
    root = world.write_csv(tmp_path / "root")
    first = read_images(root, 6, tmp_path / "cache")
    expected = {name: split.x.clone() for name, split in first.splits.items()}
    fingerprint = first.fingerprint
    del first
    path = next((tmp_path / "cache").iterdir())
    whole = path.read_bytes()
    damaged = {
        "flip": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"not safetensors at all",
    }
    path.write_bytes(damaged[damage])
    again = read_images(root, 6, tmp_path / "cache")
    assert len(decoded) == 10
    assert again.fingerprint == fingerprint
    assert all(torch.equal(split.x, expected[name]) for name, split in again.splits.items())
    assert path.read_bytes() == whole


def test_unwritable_folder(world, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot be written"):
        read_images(world.write_csv(tmp_path / "root"), 6, tmp_path / "cache")
