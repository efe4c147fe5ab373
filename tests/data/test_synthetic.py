import pytest
import torch

from pyro_sib.data import DataSet
from pyro_sib.data.fingerprint import fingerprint
from pyro_sib.data.holdout import held_out_counts
from pyro_sib.data.worlds.synthetic import synthetic_world
from pyro_sib.errors import InputError

SMALL = {
    "image_size": 16,
    "base_classes": 10,
    "val_classes": 3,
    "test_classes": 4,
    "images_per_base_class": 61,
    "images_per_novel_class": 7,
}


@pytest.fixture(scope="module")
def world() -> DataSet:
    return synthetic_world(0, **SMALL)


def test_same_seed_same_bytes(world):
    again = synthetic_world(0, **SMALL)
    assert again.fingerprint == world.fingerprint
    for name, split in world.splits.items():
        assert torch.equal(again.split(name).x, split.x)


def test_other_seed_other_pixels(world):
    other = synthetic_world(1, **SMALL)
    assert other.fingerprint != world.fingerprint
    for name, split in world.splits.items():
        assert (other.split(name).x != split.x).float().mean() > 0.9


def test_global_generator_is_neither_read_nor_moved(world):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    assert synthetic_world(0, **SMALL).fingerprint == world.fingerprint
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_do_not_change_the_bytes(world):
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        assert synthetic_world(0, **SMALL).fingerprint == world.fingerprint
    finally:
        torch.set_num_threads(threads)


def test_counts_types_and_grouping(world):
    base_val, base_test = held_out_counts(61)
    per_class = {
        "base_train": (10, 61 - base_val - base_test),
        "base_val": (10, base_val),
        "base_test": (10, base_test),
        "val": (3, 7),
        "test": (4, 7),
    }
    assert list(world.splits) == list(per_class)
    for name, (classes, rows) in per_class.items():
        split = world.split(name)
        assert split.x.shape == (classes * rows, 3, 16, 16)
        assert split.x.dtype == torch.uint8
        assert split.y.dtype == torch.int64
        assert torch.equal(split.y, torch.arange(classes).repeat_interleave(rows))
        assert len(split.class_names) == classes
    assert world.name == "synthetic"
    assert world.base_holdout == "images 51-55 / 56-60 of each base class"
    assert world.fingerprint == fingerprint(world.splits)


def test_class_names(world):
    base = world.split("base_train").class_names
    assert world.split("base_val").class_names == base
    assert world.split("base_test").class_names == base
    names = base + world.split("val").class_names + world.split("test").class_names
    assert len(set(names)) == len(names) == 17


def test_no_image_twice(world):
    x = torch.cat([split.x.flatten(1) for split in world.splits.values()])
    assert len(x.unique(dim=0)) == len(x)


def test_pixels_tell_classes_apart_but_not_well(world):
    """10 ways, 100 images: chance is 10% with a standard error of 3."""
    train, held = world.split("base_train"), world.split("base_test")
    x = train.x.flatten(1).float()
    means = torch.stack([x[train.y == c].mean(0) for c in range(10)])
    nearest = torch.cdist(torch.cat([held.x, world.split("base_val").x]).flatten(1).float(), means).argmin(1)
    accuracy = float((nearest == torch.cat([held.y, world.split("base_val").y])).float().mean())
    assert 0.2 < accuracy < 0.8


@pytest.mark.parametrize("size", [8, 21, 84])
def test_any_size_from_8(size):
    world = synthetic_world(
        3,
        image_size=size,
        base_classes=2,
        val_classes=1,
        test_classes=1,
        images_per_base_class=3,
        images_per_novel_class=1,
    )
    x = world.split("base_train").x
    assert x.shape == (2, 3, size, size)
    assert x.float().std() > 10


@pytest.mark.parametrize(
    ("name", "found", "least"),
    [
        ("seed", -1, 0),
        ("image_size", 7, 8),
        ("base_classes", 0, 1),
        ("val_classes", 0, 1),
        ("test_classes", 0, 1),
        ("images_per_base_class", 2, 3),
        ("images_per_novel_class", 0, 1),
    ],
)
def test_too_small_an_argument(name, found, least):
    with pytest.raises(InputError) as error:
        synthetic_world(**{**SMALL, name: found})
    assert str(error.value) == f"synthetic world: {name} must be {least} or more, found {found}; raise {name}"
