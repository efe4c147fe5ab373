"""Features from .npz and .safetensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from pyro_sib.cosine import unit
from pyro_sib.data import read_features
from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.errors import InputError


def save(path, arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}, path)
    return path


@pytest.fixture(params=["npz", "safetensors"])
def path(request, tmp_path):
    return tmp_path / f"features.{request.param}"


def test_round_trip(path, features):
    data = read_features(save(path, features))
    assert list(data.splits) == [BASE_TRAIN, BASE_VAL, BASE_TEST, VAL, TEST]
    assert data.name == "features"
    assert data.base_holdout == "last sixth of each base class"
    assert data.split(BASE_TRAIN).class_names == ("train/0", "train/1", "train/2")
    assert data.split(VAL).class_names == ("val/0", "val/1")
    assert torch.equal(data.split(VAL).x, torch.from_numpy(features["val_x"]))
    assert data.split(BASE_TRAIN).counts.tolist() == [4, 4, 4]
    assert torch.equal(data.split(BASE_TEST).x, torch.from_numpy(features["train_x"][5::6]))
    assert len(data.fingerprint) == 32


def test_both_forms_share_one_fingerprint(tmp_path, features):
    found = {read_features(save(tmp_path / f"a.{form}", features)).fingerprint for form in ("npz", "safetensors")}
    assert len(found) == 1


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_floats_become_float32(path, features, kind):
    features = {name: x.astype(kind) if name.endswith("x") else x for name, x in features.items()}
    split = read_features(save(path, features)).split(VAL)
    assert split.x.dtype == torch.float32
    assert torch.equal(split.x, torch.from_numpy(features["val_x"].astype(np.float32)))


def test_bfloat16(tmp_path, features):
    arrays = {name: torch.from_numpy(x) for name, x in features.items()}
    arrays["val_x"] = arrays["val_x"].bfloat16()
    save_file(arrays, tmp_path / "a.safetensors")
    assert torch.equal(read_features(tmp_path / "a.safetensors").split(VAL).x, arrays["val_x"].float())


@pytest.mark.parametrize("kind", ["int8", "uint8", "uint16", "int32", "uint64"])
def test_integer_labels(path, features, kind):
    expected = read_features(save(path, features)).fingerprint
    features = {name: y.astype(kind) if name.endswith("y") else y for name, y in features.items()}
    assert read_features(save(path, features)).fingerprint == expected


def test_big_endian(tmp_path, features):
    expected = read_features(save(tmp_path / "a.npz", features)).fingerprint
    features = {name: x.astype(x.dtype.newbyteorder(">")) for name, x in features.items()}
    assert read_features(save(tmp_path / "b.npz", features)).fingerprint == expected


@given(labels=st.lists(st.sampled_from([-3, 0, 7, 100]), min_size=4, max_size=40))
def test_rows_are_grouped_in_file_order(tmp_path_factory, labels):
    labels = [*labels, -3, 7]
    x = np.arange(len(labels), dtype=np.float32)[:, None] + 1
    path = save(tmp_path_factory.mktemp("any") / "a.npz", {"val_x": x, "val_y": np.array(labels)})
    split = read_features(path).split(VAL)
    order = sorted(range(len(labels)), key=lambda row: labels[row])
    assert split.x[:, 0].tolist() == [row + 1 for row in order]
    assert split.class_names == tuple(f"val/{label}" for label in sorted(set(labels)))
    assert [int(split.class_names[c].removeprefix("val/")) for c in split.y] == sorted(labels)


def test_own_held_out_rows(path, features):
    rng = np.random.default_rng(2)
    for name in (BASE_VAL, BASE_TEST):
        features[f"{name}_x"] = rng.normal(size=(3, 5)).astype(np.float32)
        features[f"{name}_y"] = np.array([2, 0, 1])
    data = read_features(save(path, features))
    assert data.base_holdout == "the file's own base_val / base_test rows"
    assert data.split(BASE_TRAIN).counts.tolist() == [6, 6, 6]
    assert torch.equal(data.split(BASE_VAL).x, torch.from_numpy(features["base_val_x"][[1, 2, 0]]))
    assert data.split(BASE_VAL).class_names == data.split(BASE_TRAIN).class_names


def test_only_test(path, features):
    data = read_features(save(path, {name: features[name] for name in ("test_x", "test_y")}))
    assert list(data.splits) == [TEST]
    assert data.base_holdout == "no base data"


def test_other_arrays_are_named(tmp_path, features):
    path = save(tmp_path / "a.npz", {**features, "paths": np.array(["a", "b"]), "eval_x": np.zeros(3)})
    data = read_features(path)
    assert VAL in data.splits
    (skipped,) = data.skipped
    assert (skipped.count, skipped.names) == (2, ("paths", "eval_x"))


def test_arrays_go_by_their_usual_names(path, features):
    expected = read_features(save(path, features))
    assert expected.skipped == expected.notes == ()
    other = {name.replace("val", "Validation").replace("_x", "_X"): array for name, array in features.items()}
    assert read_features(save(path, other)).fingerprint == expected.fingerprint
    with pytest.raises(InputError, match=r"has both .*; keep one of them"):
        read_features(save(path, {**features, "Validation_X": features["val_x"].copy()}))


def test_copies_of_rows_are_left_out(path, features):
    for what in "xy":
        features[f"test_{what}"] = np.repeat(features[f"test_{what}"], 2, 0)
    features["val_x"][7] = features["val_x"][2]
    data = read_features(save(path, features))
    assert data.split(TEST).counts.tolist() == [6, 6]
    assert data.split(VAL).counts.tolist() == [5, 5]
    assert data.notes == (
        "val: 2 rows with a copy under another label (e.g. row 2 of class val/0) left out",
        "test: 12 copies inside a class (e.g. row 1 of class test/0) left out",
    )


NUMBERS = st.sampled_from(["<f4", ">f8", "<f2", "<i4", "<u8", "?", "<c8", "<U3", "<M8[s]", "O", "<f4,<i2"])
NAMES = st.sampled_from(["train_x", "train_y", "val_x", "Val_Y", "test_x", "test_y", "valid_x", "x", "a/b", "_x"])


@given(
    arrays=st.dictionaries(
        NAMES, st.tuples(NUMBERS, st.lists(st.integers(0, 7), max_size=3), st.integers(0, 3)), max_size=6
    ),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
@settings(max_examples=80, deadline=None)
def test_any_npz_is_read_rightly_or_refused(tmp_path_factory, arrays, keep):
    rng = np.random.default_rng(0)
    made = {name: rng.integers(0, 1 + most, shape).astype(kind) for name, (kind, shape, most) in arrays.items()}
    path = tmp_path_factory.getbasetemp() / "any.npz"
    np.savez(path, **made)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    try:
        data = read_features(path)
    except InputError:
        return
    assert sum(part.count for part in data.skipped) + 2 * len(
        {"train", VAL, TEST} & {name.split("_")[0].casefold().replace("valid", "val") for name in made}
    ) == len(made)


def changed(**arrays):
    return lambda features: features.update(arrays)


def poke(name, row, value):
    def change(features):
        features[name][row] = value

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (poke("val_x", 3, np.nan), "val_x should be finite .* row 3"),
        (poke("train_x", 0, np.inf), "train_x should be finite .* row 0"),
        (changed(val_x=np.full((12, 5), 1e300)), "val_x should be finite in float32"),
        (changed(val_y=np.zeros(11, int)), "val_x has 12 rows but val_y has 11 labels"),
        (changed(val_x=np.zeros((12, 4), np.float32)), "val_x has 4 features a row but train_x has 5"),
        (changed(val_x=np.zeros((12, 5, 1), np.float32)), r"val_x should be \(n, D\) floats but is \(12, 5, 1\)"),
        (changed(val_x=np.zeros((12, 5), np.int64)), "val_x should be .* but is .*int64"),
        (changed(val_x=np.zeros((12, 0), np.float32)), "val_x should be"),
        (changed(val_y=np.zeros(12)), r"val_y should be \(n,\) integers but is .*float64"),
        (changed(val_y=np.zeros(12, bool)), "val_y should be .*bool"),
        (changed(val_y=np.zeros((12, 1), int)), r"val_y should be .*\(12, 1\)"),
        (changed(val_y=np.zeros(12, int)), "val has only the class val/0"),
        (changed(val_x=np.zeros((0, 5), np.float32), val_y=np.zeros(0, int)), "val holds no rows"),
        (changed(train_y=np.array([0] * 16 + [1] * 2)), "base class train/1 has 2 rows"),
        (lambda features: features.pop("val_y"), "has val_x but not val_y"),
        (lambda features: [features.pop(f"{s}_{w}") for s in ("val", "test") for w in "xy"], "must hold val_x"),
        (changed(base_val_x=np.ones((3, 5), np.float32), base_val_y=np.arange(3)), "but not base_test_x"),
    ],
)
def test_refused(path, features, change, match):
    change(features)
    with pytest.raises(InputError, match=match) as caught:
        read_features(save(path, features))
    assert "\n" not in str(caught.value)


def test_leaking_rows(path, features):
    features["test_x"][8] = features["val_x"][1]
    with pytest.raises(InputError, match=r"val and test share 1 rows, e.g. row 1 of class val/0 of val is row 2"):
        read_features(save(path, features))


def test_unknown_label_of_held_out_rows(path, features):
    for name in (BASE_VAL, BASE_TEST):
        features[f"{name}_x"] = np.random.default_rng(3).normal(size=(3, 5)).astype(np.float32)
        features[f"{name}_y"] = np.array([0, 1, 9])
    with pytest.raises(InputError, match="base_val_y has the label 9, which train_y has not"):
        read_features(save(path, features))


@pytest.mark.parametrize("content", [b"<!doctype html>", b"", b"no archive", b"PK\x03\x04 cut off"])
def test_not_features(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"web page|is empty|not a readable") as caught:
        read_features(path)
    assert "\n" not in str(caught.value)


def test_truncated(path, features):
    save(path, features)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable"):
        read_features(path)


def test_pickled_arrays_are_refused(tmp_path, features):
    np.savez(tmp_path / "a.npz", **{**features, "val_y": np.array([1, "a"] * 6, dtype=object)})
    with pytest.raises(InputError, match="not a readable"):
        read_features(tmp_path / "a.npz")


def test_text_labels(tmp_path, features):
    np.savez(tmp_path / "a.npz", **{**features, "val_y": np.array(["cat", "dog"] * 6)})
    with pytest.raises(InputError, match="val_y has the type <U3"):
        read_features(tmp_path / "a.npz")


def test_missing_and_other_suffix(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_features(tmp_path / "a.npz")
    with pytest.raises(InputError, match=r"should end in .npz or .safetensors"):
        read_features(tmp_path / "a.mat")


def scaled(features, factor, kind=np.float64):
    return {n: (x.astype(np.float64) * factor).astype(kind) if n.endswith("x") else x for n, x in features.items()}


@pytest.mark.parametrize(
    ("power", "kind"), [(67, "float32"), (-30, "float32"), (-100, "float32"), (900, "float64"), (-1000, "float64")]
)
def test_features_of_any_scale_keep_their_directions_to_the_bit(path, features, power, kind):
    ordinary = read_features(save(path, features))
    data = read_features(save(path, scaled(features, 2.0**power, kind)))
    assert not ordinary.notes
    assert len(data.notes) == 1
    assert "were multiplied by 2^" in data.notes[0]
    for name, split in data.splits.items():
        assert 0 < float(split.x.abs().max()) <= 1
        assert torch.equal(unit(split.x), unit(ordinary.splits[name].x))


@pytest.mark.parametrize("factor", [1e-5, 1.0, 1e9])
def test_ordinary_scales_are_left_alone(path, features, factor):
    features = scaled(features, factor, "float32")
    data = read_features(save(path, features))
    assert not data.notes
    assert torch.equal(data.split(VAL).x, torch.from_numpy(features["val_x"]))


def test_rows_too_far_apart_for_one_scale_are_refused(path, features):
    features = scaled(features, 1.0)
    features["test_x"][4] *= 1e-50
    with pytest.raises(InputError, match=r"train_x should be finite in float32 .* with test_x, .* such of 2e-50"):
        read_features(save(path, features))


def test_zero_rows_are_counted(path, features):
    features["val_x"][[0, 7]] = 0
    assert read_features(save(path, features)).notes == (
        "2 of 12 rows of val_x are zero; all classes are alike to them",
    )


def test_features_that_are_all_zero_are_refused(path, features):
    with pytest.raises(InputError, match="every row of the features is zero"):
        read_features(save(path, scaled(features, 0.0)))


def test_half_precision_that_overflowed_is_refused(path, features):
    with pytest.raises(InputError, match="train_x should be finite but row 0 is not"), np.errstate(over="ignore"):
        read_features(save(path, scaled(features, 1e6, "float16")))
