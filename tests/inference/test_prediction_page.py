"""A prediction as a frame and as a page."""

from html.parser import HTMLParser

import numpy as np
import pytest

from pyro_sib.errors import InputError
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.task_result import Prediction


class Tags(HTMLParser):
    """What a page refers to, and what it shows."""

    def __init__(self, text):
        super().__init__()
        self.sources, self.headings, self.last = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.last = tag
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        if self.last == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def result() -> Prediction:
    random = np.random.default_rng(0)
    x = np.eye(6)[[0, 0, 1, 1, 0, 1, 2, 2]] + 0.05 * random.normal(size=(8, 6))
    return FewShotClassifier.pretrained("lite0").predict({"a <b>": x[:2], "c": x[2:4]}, x[4:], draws=3)


def test_the_frame_has_a_row_for_each_query(result):
    frame = result.frame(["p", "q", "r", "s"])
    assert list(frame.index) == ["p", "q", "r", "s"]
    assert list(frame.columns) == [
        "label",
        "confidence",
        "probability of a <b>",
        "probability of c",
        "entropy",
        "mutual_information",
        "none_of_these",
    ]
    np.testing.assert_array_equal(frame["label"], result.labels)
    np.testing.assert_array_equal(frame[["probability of a <b>", "probability of c"]], result.probabilities)
    np.testing.assert_array_equal(frame["none_of_these"], result.none_of_these)
    assert list(result.frame().index) == [0, 1, 2, 3]
    with pytest.raises(InputError, match="names has 1 entries, but there are 4 queries"):
        result.frame(["p"])


def test_the_page_holds_all_queries_and_nothing_outside(result, tmp_path):
    result.report(tmp_path / "r.html", ["one", "two", "three", "<four>"])
    text = (tmp_path / "r.html").read_text()
    assert Tags(text).sources == [], "features have no pictures"
    assert "&lt;four&gt;" in text
    assert "<four>" not in text
    assert "a &lt;b&gt;" in text
    assert all(name in text for name in ("one", "two", "three"))
    with pytest.raises(InputError, match="names has 1 entries"):
        result.report(tmp_path / "r.html", ["p"])


def test_pictures_are_shown_in_the_page(tmp_path):
    pictures = np.zeros((4, 20, 24, 3), dtype=np.uint8)
    pictures[[0, 2]] += np.array([250, 10, 10], dtype=np.uint8)
    pictures[[1, 3]] += np.array([10, 10, 250], dtype=np.uint8)
    found = FewShotClassifier.pretrained("lite0").predict(
        {"red": pictures[:1], "blue": pictures[1:2]}, pictures[2:]
    )
    found.report(tmp_path / "r.html")
    tags = Tags((tmp_path / "r.html").read_text())
    assert len(tags.sources) >= 2
    assert all(source.startswith("data:image/jpeg;base64,") for source in tags.sources)
    assert {"red", "blue"} <= set(tags.headings)
