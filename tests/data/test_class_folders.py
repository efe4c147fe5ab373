"""Class folders as people have them: names of splits and endings, subfolders, links, and what is not read."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pyro_sib.data import read_images
from pyro_sib.data.formats.mini_imagenet import CLASSES
from pyro_sib.data.formats.tree import endings
from pyro_sib.data.names import BASE_TRAIN, TEST, VAL
from pyro_sib.errors import InputError

SIZE = 4


def picture(path: Path, value: int) -> Path:
    """A picture of its own colour, of the format that its ending names where Pillow has one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    form = Image.registered_extensions().get(path.suffix.lower(), "PNG")
    image = Image.new("RGB", (SIZE, SIZE), (value % 251, value // 251, 7))
    image.save(path, "PNG" if form in ("JPEG2000", "AVIF", "JPEG") else form, lossless=True)
    return path


def write(root: Path, *splits: str, classes: int = 2, rows: int = 3, ending: str = ".png") -> Path:
    value = 0
    for split in splits:
        for c in range(classes):
            for i in range(rows):
                value += 1
                picture(root / split / f"{split.casefold().strip()}{c}" / f"{i}{ending}", value)
    return root


def read(root: Path):
    return read_images(root, SIZE, root.parent / "cache")


def skipped(data) -> dict[str, tuple[str, ...]]:
    assert all(part.count == len(part.names) for part in data.skipped)
    return {part.reason: part.names for part in data.skipped}


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "TEST"),
        ("training", "validation", "testing"),
        ("base", "dev", "novel"),
        ("TRAIN", "valid", "Test"),
    ],
)
def test_splits_go_by_their_usual_names(tmp_path, names):
    data = read(write(tmp_path / "root", *names))
    assert {BASE_TRAIN, VAL, TEST} <= set(data.splits)
    assert data.split(VAL).class_names == (f"{names[1].casefold()}0", f"{names[1].casefold()}1")
    assert data.skipped == data.notes == ()
    assert data.name == "folders"


def test_two_folders_for_one_split_are_refused(tmp_path):
    with pytest.raises(InputError, match="has both Val and validation for the val split; keep one of them"):
        read(write(tmp_path / "root", "train", "Val", "validation"))


@pytest.mark.parametrize("ending", sorted(endings() - {".j2k", ".jp2", ".avif"}))
def test_every_ending_is_read(tmp_path, ending):
    plain = read(write(tmp_path / "a", "val"))
    other = read(write(tmp_path / "b", "val", ending=ending.upper()))
    assert other.split(VAL).x.shape == plain.split(VAL).x.shape
    if ending not in (".gif", ".pgm", ".pbm"):
        assert torch.equal(other.split(VAL).x, plain.split(VAL).x)


def test_pictures_in_subfolders_are_their_class_s(tmp_path):
    root = write(tmp_path / "root", "val")
    picture(root / "val" / "val1" / "images" / "deep" / "x.webp", 99)
    data = read(root)
    assert data.split(VAL).counts.tolist() == [3, 4]
    assert data.notes == ("1 pictures in subfolders of class folders read as of those classes",)


def test_what_is_not_read_is_counted_and_named(tmp_path):
    root = write(tmp_path / "root", "train", "val")
    picture(root / "val" / "loose.png", 90)
    picture(root / "holdout" / "a" / "0.png", 91)
    (root / "val" / "val0" / "photo.heic").write_bytes(b"ftypheic")
    (root / "val" / "val0" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "val" / "val0" / "again").symlink_to(root / "val")
    (root / "val" / "val0" / "self").symlink_to("self")
    (root / "val" / "val1" / ".DS_Store").write_bytes(b"x")
    (root / "read\nme").write_text("x")
    os.mkfifo(root / "val" / "val1" / "pipe.png")
    assert skipped(read(root)) == {
        "outside any class folder": ("val/loose.png",),
        "a link to a folder above it": ("val/val0/again",),
        "a link to nothing": ("val/val0/gone.png", "val/val0/self"),
        "no picture by its ending": ("val/val0/photo.heic",),
        "hidden": ("val/val1/.DS_Store",),
        "no regular file": ("val/val1/pipe.png",),
        "beside train, val": ("holdout", "read\\nme"),
    }


def test_many_are_counted_and_the_first_named(tmp_path):
    root = write(tmp_path / "root", "val")
    for i in range(30):
        (root / "val" / "val0" / f"{i:02d}.txt").write_text("x")
    (part,) = read(root).skipped
    assert part.count == 30
    assert part.in_words().startswith("30 not read (no picture by its ending): val/val0/00.txt, val/val0/01.txt, ")
    assert part.in_words().endswith("09.txt, ...")


def test_a_second_read_from_the_cache_says_the_same(tmp_path):
    root = write(tmp_path / "root", "val")
    Image.new("I;16", (SIZE, SIZE), 60000).save(root / "val" / "val0" / "0.png")
    (root / "notes.txt").write_text("x")
    first = read(root)
    assert first.notes == ("1 16-bit pictures scaled from 0..65535 to 8 bits (values 60000 to 60000)",)
    again = read(root)
    assert (again.notes, again.skipped) == (first.notes, first.skipped)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_links_to_pictures_and_folders_are_followed(tmp_path):
    root = write(tmp_path / "root", "val")
    picture(tmp_path / "store" / "a" / "0.png", 90)
    (root / "val" / "linked").symlink_to(tmp_path / "store" / "a")
    (root / "val" / "val0" / "x.png").symlink_to(picture(tmp_path / "store" / "1.png", 92))
    data = read(root)
    assert data.split(VAL).class_names == ("linked", "val0", "val1")
    assert data.split(VAL).counts.tolist() == [1, 4, 3]
    assert data.skipped == ()


def test_a_class_without_a_picture_says_what_it_holds(tmp_path):
    root = write(tmp_path / "root", "val")
    (root / "val" / "val2").mkdir()
    (root / "val" / "val2" / "a.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"val2 holds no image \(.*; found .heic\); add images or remove"):
        read(root)


def test_only_mini_imagenets_classes_bear_its_name(tmp_path):
    root, value = tmp_path / "mini-imagenet", 0
    for split, part in (("train", "base"), ("val", "val"), ("test", "test")):
        for name in CLASSES[part]:
            for i in range(3):
                value += 1
                picture(root / split / name / f"{i}.png", value)
    assert [len(CLASSES[part]) for part in ("base", "val", "test")] == [64, 16, 20]
    assert len(frozenset.union(*CLASSES.values())) == 100
    assert read(root).name == "mini-imagenet"
    (root / "val" / "n01855672").rename(root / "val" / "n09999999")
    assert read(root).name == "folders"


@given(
    entries=st.lists(
        st.tuples(
            st.sampled_from(["train", "Val", "validation", "test", "extra", ""]),
            st.sampled_from(["cat", "dog", "häst", "a b", ".hidden", ""]),
            st.sampled_from(["", "sub", "sub/deep"]),
            st.sampled_from(["a.png", "B.PNG", "c.txt", "d", ".e.png", "f.tif", "g.heic", "h.webp"]),
        ),
        max_size=12,
        unique=True,
    )
)
@settings(max_examples=40, deadline=None)
def test_what_is_read_and_what_is_named_is_what_is_there(tmp_path_factory, entries):
    root = write(tmp_path_factory.mktemp("any") / "root", "dev")
    for value, parts in enumerate(entries, 100):
        path = root.joinpath(*(part for part in parts if part))
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            picture(path, value)
    files = [path for path in root.rglob("*") if path.is_file()]
    try:
        data = read(root)
    except InputError:  # a class without a picture, two names of one split
        return
    named = [root / name for part in data.skipped for name in part.names]
    lost = [path for path in files if not any(path == name or name in path.parents for name in named)]
    assert sum(len(split.y) for split in data.splits.values()) == len(lost)
