"""Every form of the images gives the same data set; what cannot be read is refused in one line."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.data import read_images
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.errors import InputError

SIZE = 12
FORMS = ("csv", "folders", "cache", "gidaris")


def write(world, form, root):
    return getattr(world, f"write_{form}")(root)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_images(world, tmp_path, form):
    data = read_images(write(world, form, tmp_path / "root"), SIZE, tmp_path / "cache")
    assert list(data.splits) == [BASE_TRAIN, BASE_VAL, BASE_TEST, VAL, TEST]
    train = data.split(BASE_TRAIN)
    assert train.class_names == data.split(BASE_TEST).class_names == ("n011", "n012", "n013")
    assert train.counts.tolist() == [10, 10, 10]
    assert data.split(BASE_VAL).counts.tolist() == data.split(BASE_TEST).counts.tolist() == [1, 1, 1]
    assert train.x.dtype == torch.uint8
    assert train.x.is_contiguous()
    base = torch.from_numpy(world.images["train"]).permute(0, 1, 4, 2, 3)
    assert torch.equal(train.x, base[:, :10].flatten(0, 1))
    assert torch.equal(data.split(BASE_VAL).x, base[:, 10])
    assert torch.equal(data.split(BASE_TEST).x, base[:, 11])
    test = torch.from_numpy(world.images["test"]).permute(0, 1, 4, 2, 3)
    assert torch.equal(data.split(TEST).x, test.flatten(0, 1))
    assert data.split(VAL).class_names == ("n021", "n022")
    assert data.base_holdout == "last sixth of each base class"


def test_forms_share_one_fingerprint(world, tmp_path):
    found = {read_images(write(world, form, tmp_path / form), 7, tmp_path / "cache").fingerprint for form in FORMS}
    assert len(found) == 1
    assert len(found.pop()) == 32


def test_csv_keeps_list_order_within_classes(world, tmp_path):
    plain = read_images(world.write_csv(tmp_path / "a"), SIZE, tmp_path / "cache")
    mixed = read_images(world.write_csv(tmp_path / "b", interleaved=True), SIZE, tmp_path / "cache")
    assert plain.fingerprint == mixed.fingerprint


def test_csv_classes_in_order_of_first_appearance(world, tmp_path):
    root = world.write_csv(tmp_path / "root")
    lines = (root / "val.csv").read_text().split()
    (root / "val.csv").write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert read_images(root, SIZE, tmp_path / "cache").split(VAL).class_names == ("n022", "n021")


def test_gidaris_extra_files_are_the_held_out_rows(world, tmp_path):
    own = read_images(world.write_gidaris(tmp_path / "own", extra=True), SIZE, tmp_path / "cache")
    rule = read_images(world.write_csv(tmp_path / "rule"), SIZE, tmp_path / "cache")
    assert own.base_holdout == "Gidaris's files train_phase_val / train_phase_test"
    assert own.fingerprint == rule.fingerprint


@pytest.mark.parametrize("form", ["gidaris", "cache"])
def test_python2_pickles(world, tmp_path, form, dump_python2):
    writer = getattr(world, f"write_{form}")
    old = read_images(writer(tmp_path / "old", dump=dump_python2), SIZE, tmp_path / "a")
    new = read_images(writer(tmp_path / "new"), SIZE, tmp_path / "b")
    assert old.fingerprint == new.fingerprint


def test_missing_splits_are_missing(world, tmp_path):
    root = world.write_csv(tmp_path / "root")
    (root / "test.csv").unlink()
    (root / "train.csv").unlink()
    data = read_images(root, SIZE, tmp_path / "cache")
    assert list(data.splits) == [VAL]
    assert data.base_holdout == "no base data"


def test_progress_counts_every_image_once(world, tmp_path):
    seen = []
    root = world.write_folders(tmp_path / "root")
    read_images(root, SIZE, tmp_path / "cache", lambda done, total: seen.append((done, total)))
    assert seen[-1] == (54, 54)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    seen.clear()
    read_images(root, SIZE, tmp_path / "cache", lambda done, total: seen.append((done, total)))
    assert seen == []


def refused(root, tmp_path, match, size=SIZE):
    with pytest.raises(InputError, match=match) as caught:
        read_images(root, size, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))


def test_no_such_root(tmp_path):
    refused(tmp_path / "nowhere", tmp_path, "nowhere is not a folder")


def test_nothing_recognised(tmp_path):
    (tmp_path / "root").mkdir()
    refused(tmp_path / "root", tmp_path, r"train\.csv.*train_phase_train.*cache-.*folder of images")


def test_bad_size(world, tmp_path):
    refused(world.write_csv(tmp_path / "root"), tmp_path, "image_size must be 1 or more", size=0)


def test_csv_without_images(world, tmp_path):
    root = world.write_csv(tmp_path / "root")
    shutil.rmtree(root / "images")
    refused(root, tmp_path, "no images/ folder")


def test_csv_lists_a_missing_file(world, tmp_path):
    root = world.write_csv(tmp_path / "root")
    (root / "images" / "n0210003.png").unlink()
    # Decoding must not even begin: the damaged image of an earlier list is not reached.
    (root / "images" / "n0110000.png").write_bytes(b"damaged")
    refused(
        root,
        tmp_path,
        r"^val.csv lists n0210003.png but images/ has no such file; unpack the archive or pass another root$",
    )


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("name,class\na,b\n", "must have the columns filename,label"),
        ("filename,label\n", "lists no image"),
        ("filename,label\nn0210000.png\n", "line 2 lacks"),
        ("<html>not found</html>", "web page"),
        ("", "is empty"),
    ],
)
def test_bad_csv(world, tmp_path, text, match):
    root = world.write_csv(tmp_path / "root")
    (root / "val.csv").write_text(text)
    refused(root, tmp_path, match)


def test_folder_without_images(world, tmp_path):
    root = world.write_folders(tmp_path / "root")
    (root / "val" / "n029").mkdir()
    (root / "val" / "n029" / "readme.txt").write_text("none")
    refused(root, tmp_path, "n029 holds no image")


def test_folder_without_classes(world, tmp_path):
    root = world.write_folders(tmp_path / "root")
    shutil.rmtree(root / "val")
    (root / "val").mkdir()
    refused(root, tmp_path, "holds no class folder")


def test_overlapping_classes(world, tmp_path):
    root = world.write_folders(tmp_path / "root")
    (root / "val" / "n021").rename(root / "val" / "n012")
    refused(root, tmp_path, "class n012 is both in base and in val")


def test_novel_split_of_one_class(world, tmp_path):
    root = world.write_folders(tmp_path / "root")
    shutil.rmtree(root / "test" / "n031")
    refused(root, tmp_path, "test has only the class n032")


def test_leaking_images(world, tmp_path):
    world.images["val"][1, 2] = world.images["train"][0, 3]
    refused(
        world.write_csv(tmp_path / "root"), tmp_path, r"base_train and val share 1 rows, e.g. row 3 of class n011"
    )


def test_a_copy_that_the_cut_would_put_into_the_held_out_rows(world, tmp_path):
    world.images["train"][2, 11] = world.images["train"][2, 4]
    data = read_images(world.write_cache(tmp_path / "root"), SIZE, tmp_path / "cache")
    assert data.split(BASE_TRAIN).counts.tolist() == [10, 10, 9]
    assert data.split(BASE_TEST).counts.tolist() == [1, 1, 1]
    assert data.notes == ("base: 1 copies inside a class (e.g. row 4 of class n013) left out",)


def test_leak_into_held_out_files(world, tmp_path):
    world.images["train"][2, 11] = world.images["train"][2, 4]
    refused(world.write_gidaris(tmp_path / "root", extra=True), tmp_path, "base_train and base_test share 1 rows")


@pytest.mark.parametrize(
    ("present", "match"),
    [
        (["train_phase_train", "train_phase_val"], "but not .*train_phase_test"),
        (["train_phase_test", "train_phase_val"], "but not .*train_phase_train"),
    ],
)
def test_gidaris_half_the_extra_files(world, tmp_path, present, match):
    root = world.write_gidaris(tmp_path / "root", extra=True)
    for path in root.glob("*train_phase*"):
        if not any(path.stem.endswith(stem) for stem in present):
            path.unlink()
    refused(root, tmp_path, match)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda content: content.pop("labels"), "lacks the key 'labels'"),
        (lambda content: content["labels"].pop(), "labels should be 8 integers"),
        (lambda content: content.update(data=content["data"].astype(float)), "uint8 but is .*float64"),
        (lambda content: content.update(data=content["data"][..., 0]), r"\(n, H, W, 3\)"),
    ],
)
def test_gidaris_bad_content(world, tmp_path, change, match):
    root = world.write_gidaris(tmp_path / "root")
    path = root / "miniImageNet_category_split_val.pickle"
    content = pickle.loads(path.read_bytes())
    change(content)
    path.write_bytes(pickle.dumps(content))
    refused(root, tmp_path, match)


def test_gidaris_extra_classes(world, tmp_path):
    root = world.write_gidaris(tmp_path / "root", extra=True)
    path = root / "miniImageNet_category_split_train_phase_val.pickle"
    content = pickle.loads(path.read_bytes())
    content["labels"] = [*content["labels"][:2], 7]
    path.write_bytes(pickle.dumps(content))
    refused(root, tmp_path, "should hold the base classes .* differs in class-007")


@pytest.mark.parametrize("rows", [[[0, 1], [2, 99]], [[0, 1], [1, 2]], [[0, 1], [2.5]], [[0, 1], []]])
def test_cache_pickle_bad_rows(world, tmp_path, rows):
    root = world.write_cache(tmp_path / "root")
    path = root / "mini-imagenet-cache-val.pkl"
    content = pickle.loads(path.read_bytes())
    content["class_dict"] = dict(zip(("n021", "n022"), rows, strict=True))
    path.write_bytes(pickle.dumps(content))
    refused(root, tmp_path, "class_dict should list rows|class n022 has no rows")


RAGGED = [[1, 2], [3]]
CIRCLE: list = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize("value", [RAGGED, CIRCLE, {"a": 1}, None, "text", [10**40, 1], [[[]]], b"", 3.5])
@pytest.mark.parametrize(
    ("form", "name", "key"),
    [
        ("gidaris", "miniImageNet_category_split_val.pickle", "labels"),
        ("gidaris", "miniImageNet_category_split_val.pickle", "data"),
        ("cache", "mini-imagenet-cache-val.pkl", "image_data"),
        ("cache", "mini-imagenet-cache-val.pkl", "class_dict"),
        ("cache", "mini-imagenet-cache-val.pkl", "rows"),
    ],
)
def test_any_content_of_a_pickle_is_refused_in_one_line(world, tmp_path, value, form, name, key):
    path = write(world, form, tmp_path / "root") / name
    content = pickle.loads(path.read_bytes())
    content.update({"class_dict": {"a": value, "b": [1]}} if key == "rows" else {key: value})
    path.write_bytes(pickle.dumps(content))
    refused(tmp_path / "root", tmp_path, "^.*val")


@pytest.mark.parametrize("names", [{"a": [1]}, {"a": {}}, [1], None, {1: None}])
def test_names_that_name_nothing_leave_numbers(world, tmp_path, names):
    root = world.write_gidaris(tmp_path / "root")
    path = root / "miniImageNet_category_split_val.pickle"
    content = pickle.loads(path.read_bytes())
    content["catname2label"] = names
    path.write_bytes(pickle.dumps(content))
    assert read_images(root, SIZE, tmp_path / "cache").split(VAL).class_names == ("class-064", "class-065")


def test_what_lies_beside_pickles_is_named(world, tmp_path):
    root = world.write_cache(tmp_path / "root")
    (root / "mini-imagenet-cache-val.pkl").rename(root / "mini-imagenet-cache-valid.pkl")
    data = read_images(root, SIZE, tmp_path / "cache")
    assert data.name == "pickles"
    assert [part.names for part in data.skipped] == [("mini-imagenet-cache-valid.pkl",)]


def test_cache_pickle_rows_in_any_order(world, tmp_path):
    root = world.write_cache(tmp_path / "root")
    path = root / "mini-imagenet-cache-val.pkl"
    content = pickle.loads(path.read_bytes())
    content["class_dict"] = {"n021": np.array([7, 0]), "n022": [2]}
    path.write_bytes(pickle.dumps(content))
    data = read_images(root, SIZE, tmp_path / "cache")
    assert data.notes == (
        "5 images of mini-imagenet-cache-val.pkl are in no class of its class_dict, and not read",
    )
    split = data.split(VAL)
    rows = torch.from_numpy(content["image_data"][[7, 0, 2]]).permute(0, 3, 1, 2)
    assert torch.equal(split.x, rows)
    assert split.y.tolist() == [0, 0, 1]


def test_web_page_as_image(world, tmp_path):
    root = world.write_csv(tmp_path / "root")
    (root / "images" / "n0210003.png").write_text("<!DOCTYPE html><html>404</html>")
    refused(root, tmp_path, "n0210003.png should be an image but is a web page")


def test_mixed_sizes_become_one(world, tmp_path):
    root = world.write_folders(tmp_path / "root")
    Image.new("RGB", (40, 20), (10, 20, 30)).save(root / "val" / "n021" / "zz.jpg")
    split = read_images(root, 8, tmp_path / "cache").split(VAL)
    assert split.x.shape == (9, 3, 8, 8)
    assert split.counts.tolist() == [5, 4]
    assert (split.x[4].flatten(1).float().mean(1) - torch.tensor([10.0, 20.0, 30.0])).abs().max() < 2
