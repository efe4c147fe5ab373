"""Pickles are read as data, never as programs."""

import builtins
import os
import pickle
import subprocess
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_sib.data.formats.unpickle import load_pickle
from pyro_sib.errors import InputError

CONTENT = {
    "data": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "labels": [3, 1],
    "scalar": np.int64(7),
    "float": np.linspace(0, 1, 5, dtype=">f8"),
    "names": np.array(["a", "bcd"]),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "transposed": np.arange(24).reshape(2, 3, 4).transpose(1, 0, 2),
    "empty": np.zeros((0, 3), np.float32),
    "plain": [{1, 2}, frozenset({3}), (None, True, 2.5, 1 + 2j), b"\x00\xff", bytearray(b"ab"), range(3)],
    "ordered": OrderedDict(a=1),
}


def same(found, expected):
    if isinstance(expected, np.ndarray):
        np.testing.assert_array_equal(np.asarray(found), expected)
        # Before protocol 5 numpy itself brings arrays to the native byte order.
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers(tmp_path, protocol):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol=protocol))
    found = load_pickle(path)
    assert found.keys() == CONTENT.keys()
    for key, value in CONTENT.items():
        same(found[key], value)


def test_numpy_1_module_names(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT, protocol=2).replace(b"numpy._core", b"numpy.core"))
    same(load_pickle(path)["data"], CONTENT["data"])


def test_python2(tmp_path, dump_python2):
    path = tmp_path / "a.pkl"
    path.write_bytes(dump_python2({key: CONTENT[key] for key in ("data", "labels", "scalar", "float")}))
    found = load_pickle(path)
    for key, value in found.items():
        same(value, CONTENT[key])


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("function", [os.system, builtins.eval, builtins.exec, subprocess.call, builtins.getattr])
def test_never_calls_what_a_pickle_names(tmp_path, function, protocol):
    mark = tmp_path / "mark"
    argument = f"open({str(mark)!r}, 'w')" if function in (builtins.eval, builtins.exec) else f"touch {mark}"
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"data": Call(function, argument)}, protocol=protocol))
    with pytest.raises(InputError, match=rf"refuses to load \w+\.{function.__name__}"):
        load_pickle(path)
    assert not mark.exists()


def test_nested_names_do_not_escape(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04\x8c\x08builtins\x8c\x11set.__class__.mro\x93.")
    with pytest.raises(InputError, match="refuses to load"):
        load_pickle(path)


def test_object_arrays_are_refused(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(np.array([1, "a"], dtype=object)))
    with pytest.raises(InputError, match="an array of type O"):
        load_pickle(path)


def test_forged_array_state_is_refused(tmp_path):
    # numpy's own __setstate__ sees only sizes that fit.
    path = tmp_path / "a.pkl"
    honest = pickle.dumps(np.arange(4, dtype=np.uint8), protocol=2)
    assert honest.count(b"K\x04\x85") == 1
    path.write_bytes(honest.replace(b"K\x04\x85", b"K\x7f\x85"))
    with pytest.raises(InputError, match="without its 127 bytes"):
        load_pickle(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"\n <!DOCTYPE html><html>", "is a web page"),
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"", "is empty"),
        (b"this is no pickle", "not a readable pickle"),
        (pickle.dumps(CONTENT)[:200], "is truncated"),
        (pickle.dumps(CONTENT)[:-1], "is truncated"),
    ],
)
def test_not_a_pickle(tmp_path, content, match):
    path = tmp_path / "a.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=match) as caught:
        load_pickle(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_pickle(tmp_path / "a.pkl")


@given(content=st.binary(max_size=40), keep=st.integers(0, 120))
def test_any_bytes_give_a_value_or_one_line(tmp_path_factory, content, keep):
    path = tmp_path_factory.mktemp("any") / "a.pkl"
    path.write_bytes(pickle.dumps(CONTENT["data"], protocol=2)[:keep] + content)
    try:
        load_pickle(path)
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017
