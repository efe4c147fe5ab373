"""The learners that come with the project are what their cards say, and serve pictures of any classes."""

import numpy as np
import pytest

from pyro_sib import FewShotClassifier, InputError
from pyro_sib.inference import learner_file
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.settings.card import SHIPPED, read_learner_card

ONE_SIZE = [name for name in SHIPPED if name.startswith("mini-imagenet")]
"""Trained on tasks of one size, on mini-ImageNet's base classes."""


@pytest.mark.parametrize("name", SHIPPED)
def test_its_card_says_what_it_is(name):
    card = read_learner_card(name)
    assert card.name == name
    assert {"command", "commit", "hardware", "hours", "versions"} <= card.made.keys()
    assert "Not to be used" in card.licence
    assert card.data["fingerprint"]
    assert card.measured
    assert "/" not in card.made["command"], "no folder of a machine"


@pytest.mark.parametrize("name", ONE_SIZE)
def test_one_of_one_size_says_for_which(name):
    card = read_learner_card(name)
    assert f"{card.tasks.shots}shot" in name.split("-")
    assert card.learner.joint == ("lwof" in name.split("-"))
    assert (card.learner.inside.synthetic_gradient == "mlp") == ("mlp" in name.split("-"))
    assert card.made["calibration"]
    assert len(card.base_classes) == 64
    on_new = {one.what: one.tasks for one in card.measured if one.what.endswith(", val")}
    assert on_new == dict.fromkeys(
        [f"{m}, val" for m in ("novel", "base", "both")[: 3 if card.learner.joint else 1]], 2000
    )


@pytest.mark.parametrize("name", SHIPPED)
def test_it_tells_pictures_apart_that_it_has_never_seen(name):
    """A red disc, green stripes and a blue square on noise; where five are needed, yellow columns and a cross."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:60, :60]
    colours = np.array([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)])
    count = 5 if "mlp" in name else 3

    def picture(kind: int) -> np.ndarray:
        phase, edge = random.integers(12), random.integers(10, 20)
        disc = (rows - 30) ** 2 + (columns - 30) ** 2 < (50 - edge) ** 2 / 4
        square = (abs(rows - 30) < edge) & (abs(columns - 30) < edge)
        cross = (abs(rows - 30) < edge / 3) | (abs(columns - 30) < edge / 3)
        shape = (disc, ((rows + phase) // 6) % 2, square, ((columns + phase) // 6) % 2, cross)[kind]
        noise = random.integers(60, 120, (60, 60, 3))
        return (120 * shape[..., None] * colours[kind] + noise).astype(np.uint8)

    names = ("disc", "stripes", "square", "columns", "cross")[:count]
    support = {one: [picture(kind)] * (1 + kind % 2) for kind, one in enumerate(names)}
    truth = [names[kind % count] for kind in range(30)]
    result = FewShotClassifier.pretrained(name).predict(support, [picture(kind % count) for kind in range(30)])
    right = np.mean(result.labels == truth)
    assert right > 1.8 / count, right


def test_lite0_is_for_tasks_of_any_size_and_can_be_told():
    learner = FewShotClassifier.pretrained("lite0")
    assert learner.card.tasks.any is not None
    assert learner.card.learner.power == 0.5
    assert learner.card.pictures.outside.name == "lite0"
    x = np.random.default_rng(0).normal(size=(30, 50)) + 2 * np.repeat(np.eye(3, 50), 10, axis=0)
    support, queries = {"a": x[:1], "b": x[10:13], "c": x[20:22]}, np.concatenate([x[1:10], x[13:20], x[22:]])
    said = ("even", {"a": 0.9, "b": 0.05, "c": 0.05})
    told = [learner.predict(support, queries, proportions=one).probabilities.mean(0) for one in said]
    assert told[1][0] > told[0][0] + 0.05


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    name = next(iter(SHIPPED))
    content = bytearray(learner_file.learner_path(name).read_bytes())
    content[-1] ^= 1
    (tmp_path / f"{name}.safetensors").write_bytes(content)
    monkeypatch.setattr("pyro_sib.inference.settings.card._FOLDER", tmp_path)
    with pytest.raises(InputError, match="is not the file that came with this version"):
        load_learner(name)
