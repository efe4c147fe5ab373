"""csv lists as spreadsheets, scripts and people write them; each cell stands for one path."""

import csv
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pyro_sib.data import read_images
from pyro_sib.data.formats.csv_table import read_columns
from pyro_sib.data.names import VAL
from pyro_sib.errors import InputError

NAMES = ["a.png", "b.png", "c.png", "d.png"]
PLAIN = "filename,label\na.png,cat\nb.png,cat\nc.png,dog\nd.png,dog\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "images").mkdir(parents=True)
    for value, name in enumerate(NAMES):
        Image.new("L", (4, 4), 50 * value).save(tmp_path / "root" / "images" / name)
    return tmp_path / "root"


def read(root, content, name="val.csv"):
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_images(root, 4, root.parent / "cache")


@pytest.mark.parametrize(
    "content",
    [
        PLAIN,
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        "sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"),
        PLAIN.replace("\n", "\r"),
        PLAIN.replace("\n", "\r\n", 2),
        PLAIN.replace("\n", "\n\n").replace("cat", '"cat"') + "\n,\n  \n",
        PLAIN.replace(",", ' , "').replace("\n", '"\n'),
        PLAIN.replace("filename,label", "Filename,LABEL").rstrip(),
        "id,label,filename\n1,cat,a.png\n2,cat,b.png\n3,dog,c.png\n4,dog,d.png\n",
        PLAIN.replace("a.png", "./a.png").replace("b.png", "images/b.png").replace("c.png", "images\\c.png"),
        PLAIN.replace("\n", ",\n").replace("label,", "label"),
    ],
)
def test_every_shape_of_one_list_is_that_list(root, content):
    data = read(root, content)
    assert data.name == "csv"
    assert data.split(VAL).class_names == ("cat", "dog")
    assert data.split(VAL).x[:, 0, 0, 0].tolist() == [0, 50, 100, 150]
    assert data.skipped == ()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PLAIN.replace("b.png,", "b,1.png,"), "line 3 has 3 cells under 2 columns; quote"),
        (PLAIN.replace("b.png,cat", "b.png"), "line 3 lacks"),
        (PLAIN.replace("a.png,cat", "a.png, "), "line 2 lacks"),
        (PLAIN.replace("a.png", '"a.png'), "is not a csv list"),
        (PLAIN.replace("cat", "häst").encode("latin1"), "is not a csv list .*utf-8.*; save it as a UTF-8 csv"),
        (PLAIN.encode("utf-16-le"), "null characters"),
        (PLAIN.replace("filename", "label"), "columns filename,label once each but has label,label"),
        (PLAIN.replace("filename,", ""), "once each but has label"),
        (PLAIN.replace("b.png", "x" * 300), "lists x+ but images/ has no such file"),
        (PLAIN.replace("b.png", '"b\n.png"'), r"lists b\\n.png but"),
        ("\n\n", "is empty"),
        (PLAIN.replace("dog", "cat"), "val has only the class cat"),
    ],
)
def test_what_is_no_such_list_is_refused_in_one_line(root, content, says):
    with pytest.raises(InputError, match=says) as caught:
        read(root, content)
    assert "\n" not in str(caught.value)


def test_a_whole_path_is_that_path(root, tmp_path):
    shutil.move(root / "images" / "b.png", tmp_path / "elsewhere.png")
    data = read(root, PLAIN.replace("b.png", str(tmp_path / "elsewhere.png")))
    assert data.split(VAL).x[:, 0, 0, 0].tolist() == [0, 50, 100, 150]
    inside = read(root, PLAIN.replace("b.png", "d.png").replace("a.png", str(root / "images" / "a.png")))
    assert inside.skipped == ()


def test_names_may_go_from_the_data_root(root):
    (root / "images").rename(root / "pictures")
    data = read(root, PLAIN.replace("\n", "\npictures/", 4))
    assert data.split(VAL).counts.tolist() == [2, 2]
    assert data.skipped == ()


@pytest.mark.parametrize("name", ["validation.csv", "Val.CSV", "dev.csv"])
def test_lists_go_by_their_usual_names(root, name):
    assert list(read(root, PLAIN, name).splits) == [VAL]


def test_two_lists_of_one_split_are_refused(root):
    (root / "valid.csv").write_text(PLAIN)
    with pytest.raises(InputError, match=r"has both val.csv and valid.csv for the val split"):
        read(root, PLAIN)


def test_what_is_in_no_list_is_named(root):
    (root / "images" / "sub").mkdir()
    shutil.copy(root / "images" / "a.png", root / "images" / "sub" / "e.png")
    (root / "images" / "x.txt").write_text("x")
    (root / "holdout.csv").write_text(PLAIN)
    (root / "test").mkdir()
    data = read(root, PLAIN.replace("d.png,dog\n", ""))
    assert {part.reason: part.names for part in data.skipped} == {
        "in no list": ("images/d.png", "images/sub/e.png"),
        "no picture by its ending": ("images/x.txt",),
        "beside val.csv, images": ("holdout.csv", "test"),
    }


def test_a_row_twice_counts_once_and_one_under_two_labels_not_at_all(root):
    data = read(root, PLAIN + "b.png,cat\nd.png,dog\nc.png,cat\n")
    assert data.split(VAL).x[:, 0, 0, 0].tolist() == [0, 50, 150]
    assert data.notes == (
        "val: 2 copies inside a class (e.g. row 2 of class cat) and 2 rows with a copy under another label "
        "(e.g. row 3 of class cat) left out",
    )


CELLS = st.one_of(st.sampled_from([*NAMES, "cat", "dog", "", " ", '"', "filename", "label"]), st.text(max_size=4))


@given(
    rows=st.lists(st.lists(CELLS, max_size=4), max_size=6),
    header=st.booleans(),
    delimiter=st.sampled_from(",;\t "),
    newline=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "latin1"]),
)
@settings(max_examples=80, deadline=None)
def test_any_csv_is_read_rightly_or_refused(tmp_path_factory, rows, header, delimiter, newline, encoding):
    lines = [delimiter.join(row) for row in ([["filename", "label"]] if header else []) + rows]
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(newline.join(lines).encode(encoding, "replace"))
    try:
        names, labels = read_columns(path)
    except InputError:
        return
    assert len(names) == len(labels) > 0
    assert all(cell == cell.strip() != "" for cell in names + labels)


@given(
    rows=st.lists(
        st.tuples(
            *(st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), min_size=1).filter(str.strip),) * 2
        ),
        min_size=1,
        max_size=6,
    ),
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@settings(max_examples=40, deadline=None)
def test_a_csv_as_a_library_writes_it_is_read_whole(tmp_path_factory, rows, delimiter, newline, encoding):
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        table = csv.writer(file, delimiter=delimiter, lineterminator=newline)
        table.writerows([("filename", "label"), *rows])
    names, labels = read_columns(path)
    assert list(zip(names, labels, strict=True)) == [(name.strip(), label.strip()) for name, label in rows]
