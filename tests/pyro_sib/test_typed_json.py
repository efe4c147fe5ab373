"""JSON is read as its types have it, or an error names the entry."""

import json
from dataclasses import asdict, dataclass, field
from math import isnan
from typing import Annotated, Literal

import pytest

from pyro_sib.errors import InputError
from pyro_sib.typed_json import LATER, TypedReader


@dataclass(frozen=True)
class Part:
    name: str
    size: float = 1.0


@dataclass(frozen=True)
class Whole:
    parts: tuple[Part, ...]
    corner: tuple[float, float]
    kind: Literal["a", "b"]
    found: Annotated[dict[str, int], "all"]
    other: Part | None = None
    mixed: str | int | tuple[bool, ...] = 3


WHOLE = Whole((Part("x"), Part("y", 2)), (0, 1.5), "a", {"all": 3}, Part("z"), (True, False))
READER = TypedReader("a file", "write it again")


@pytest.mark.parametrize("exact", [False, True])
def test_what_was_written_comes_back(exact):
    held = json.loads(json.dumps(asdict(WHOLE)))
    assert TypedReader("a file", "", exact).read(Whole, held) == WHOLE


def test_null_is_nan_and_defaults_may_be_missing():
    assert isnan(READER.read(Part, {"name": "x", "size": None}).size)
    assert READER.read(Part, {"name": "x", "colour": 1}) == Part("x")
    exact = TypedReader("a file", "write it again", exact=True)
    with pytest.raises(InputError, match="a file has no size; write it again"):
        exact.read(Part, {"name": "x"})
    with pytest.raises(InputError, match="a file: colour is unknown to this version; write it again"):
        exact.read(Part, {"name": "x", "size": 1, "colour": 1})


@dataclass(frozen=True)
class Grown:
    first: int = 1
    second: int | None = field(default=None, metadata=LATER)


def test_an_exact_reader_forgives_the_lack_of_what_came_later_alone():
    exact = TypedReader("a file", "write it again", exact=True)
    assert exact.read(Grown, {"first": 2}) == Grown(2)
    assert exact.read(Grown, {"first": 2, "second": 3}) == Grown(2, 3)
    with pytest.raises(InputError, match="a file has no first"):
        exact.read(Grown, {"second": 3})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": [{"name": "x"}, {"size": 1}]}, "a file has no parts.1.name"),
        ({"parts": [{"name": 3}]}, "parts.0.name is 3, not a text"),
        ({"parts": {}}, "parts is {}, not a list"),
        ({"corner": [1]}, r"corner is \[1\], not a list of 2"),
        ({"corner": [1, True]}, "corner.1 is True, not a number"),
        ({"kind": "c"}, "kind is 'c', not one of a, b"),
        ({"found": {}}, "a file has no found.all"),
        ({"found": {"all": 1.5}}, "found.all is 1.5, not a whole number"),
        ({"other": []}, r"other is \[\], not an object"),
        ({"mixed": 1.5}, "mixed is 1.5, not "),
    ],
)
def test_what_is_of_another_type_is_named(change, message):
    held = json.loads(json.dumps(asdict(WHOLE))) | change
    with pytest.raises(InputError, match=message):
        READER.read(Whole, held)
    with pytest.raises(InputError, match="a file: the content is 3, not an object"):
        READER.read(Whole, 3)
