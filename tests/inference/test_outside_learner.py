"""A learner on a feature network that others trained: its file names the network and holds none of its weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib import FewShotClassifier, FitSettings, InputError
from pyro_sib.features.outside import OUTSIDE
from pyro_sib.files import read_meta
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.tensor_files import read_tensors, write_tensors

SETTINGS = FitSettings(
    ways=2, queries=2, network="lite0", image_size=32, training=TrainSettings(4, 2), select_tasks=4
)


@pytest.fixture(scope="module")
def pictures():
    """12 pictures of three colours, wider than high."""
    rng = np.random.default_rng(0)
    colours = np.repeat(rng.integers(0, 160, (3, 3)), 4, axis=0)
    return (colours[:, None, None] + rng.integers(0, 90, (12, 20, 28, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def classifier(pictures):
    return FewShotClassifier.fit(pictures, np.repeat(["crow", "gull", "wren"], 4), SETTINGS)


@pytest.fixture
def file(classifier, tmp_path):
    classifier.save(tmp_path / "l.safetensors")
    return tmp_path / "l.safetensors"


def test_the_file_names_the_network_and_brings_it_back_to_the_same_bits(classifier, pictures, file):
    tensors, meta = read_tensors(file)
    assert not any(name.startswith("backbone") for name in tensors)
    assert file.stat().st_size < 1_000_000
    own = meta["card"]["pictures"]
    assert own["outside"]["sha256"] == OUTSIDE["lite0"].network.sha256
    assert (own["image_size"], own["fit"]) == (32, "crop")
    again = FewShotClassifier.load(file)
    assert again.card == classifier.card
    assert torch.equal(again.features(pictures), classifier.features(pictures))
    support, queries = {"crow": pictures[:1], "gull": pictures[4:5]}, pictures[1:4]
    before, after = (one.predict(support, queries).probabilities for one in (classifier, again))
    assert (before == after).all()


def test_features_do_not_depend_on_the_form_of_a_picture(classifier, pictures, tmp_path):
    Image.fromarray(pictures[0]).save(tmp_path / "0.png")
    given = ([tmp_path / "0.png"], [Image.fromarray(pictures[0])], pictures[:1], pictures[:1, :, 4:24])
    first, *others = (classifier.features(one) for one in given)
    assert first.shape == (1, 1280)
    assert all(torch.equal(first, other) for other in others)


def _rewritten(file, **changes):
    tensors, meta = read_tensors(file)
    meta["card"]["pictures"]["outside"] |= changes
    write_tensors(file, {name: value.clone() for name, value in tensors.items()}, meta)


def test_a_file_of_other_weights_gets_one_line(file):
    _rewritten(file, sha256="0" * 64)
    with pytest.raises(
        InputError, match=r"l\.safetensors: the feature network lite0 .* is none that this version"
    ) as e:
        FewShotClassifier.load(file)
    assert "\n" not in str(e.value)


def test_a_missing_package_gets_one_line(file, monkeypatch):
    monkeypatch.setattr("pyro_sib.features.outside.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"l\.safetensors: the feature network lite0 needs the package"):
        FewShotClassifier.load(file)


def test_files_that_were_written_before_are_read(file):
    """They lack both entries, and then the weights are the file's own, of squashed pictures."""
    tensors, meta = read_tensors(file)
    meta["card"]["pictures"] = {
        key: value for key, value in meta["card"]["pictures"].items() if key not in ("outside", "fit")
    }
    write_tensors(file, {name: value.clone() for name, value in tensors.items()}, meta)
    assert json.dumps(read_meta(file)).count("outside") == 0
    with pytest.raises(InputError, match="the tensors do not fit"):  # the backbone's are missing
        FewShotClassifier.load(file)


def test_accuracies_on_imagenets_classes_are_not_reported(classifier, pictures):
    assert classifier.card.measured
    seen = FewShotClassifier.fit(pictures, np.repeat(["n01532829", "gull", "wren"], 4), SETTINGS)
    assert seen.card.measured == ()


def test_sizes_go_with_networks_for_any_size_alone(pictures):
    labels = np.repeat(["crow", "gull", "wren"], 4)
    with pytest.raises(InputError, match="image_size 32, but the feature network is of pictures of 84 pixels"):
        FewShotClassifier.fit(pictures, labels, replace(SETTINGS, network="mini-imagenet-c64f"))
    with pytest.raises(InputError, match="image_size 8: lite0 takes pictures of 32 to 1024"):
        FewShotClassifier.fit(pictures, labels, replace(SETTINGS, image_size=8))
