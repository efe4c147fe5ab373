"""A trained feature network in place of stage 1."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import CosineClassifier, unit
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import load_data, prepare
from pyro_sib.experiments.job.restore import restore
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.network_card import NetworkCard
from pyro_sib.features.network_file import load_network, save_network
from pyro_sib.features.pretrain import Pretrained, extract

BASE, NEW = ("a", "b", "c", "d"), ("v", "w", "x")


@pytest.fixture
def birds(tmp_path):
    """Class folders of 16-pixel pictures, a colour each."""
    rng = np.random.default_rng(0)
    for split, names in (("train", BASE), ("val", NEW)):
        for name in names:
            colour = rng.integers(0, 160, 3)
            for index in range(18):
                folder = tmp_path / "birds" / split / name
                folder.mkdir(parents=True, exist_ok=True)
                pixels = colour + rng.integers(0, 90, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return tmp_path / "birds"


def _settings(birds, network, classes=BASE) -> RunSettings:
    torch.manual_seed(0)
    weights = Pretrained(make_backbone("c64f", 16).eval(), CosineClassifier(64, len(classes)), ())
    card = NetworkCard("small", "c64f", 16, tuple(classes), {}, {}, (), {}, "none")
    save_network(network, weights, card)
    return RunSettings(
        setting="lwof",
        data="folders",
        data_root=birds,
        network=str(network),
        split="val",
        ways=2,
        queries=2,
        iterations=8,
        epochs=2,
        select_tasks=4,
        eval_tasks=6,
        draws=2,
        compare=False,
        out=birds.parent / "out",
        cache_dir=birds.parent / "cache",
    )


def test_a_network_from_a_file_takes_the_place_of_stage_1(birds, tmp_path):
    settings = _settings(birds, tmp_path / "n.safetensors")
    result = run(settings)
    assert result.options["network"] == str(tmp_path / "n.safetensors")
    assert (result.data.image_size, result.backbone, result.pretrain_log) == (16, "c64f", ())
    assert "pretrain" not in result.seconds
    assert not (settings.cache_dir / "backbones").exists()
    restored = restore(settings.out, Reporter(), settings.cache_dir)
    network = load_network(settings.network)[0]
    images, bank = restored.ground.images.split("val"), restored.ground.bank.split("val")
    assert torch.equal(bank.x, extract(network.backbone, images.x, torch.device("cpu")))
    assert torch.equal(restored.ground.base_weights, unit(network.classifier.weight))


def test_base_classes_that_the_network_does_not_know_get_a_classifier_of_their_own(birds, tmp_path):
    result = run(_settings(birds, tmp_path / "n.safetensors", classes=("p", "q")))
    assert "base classifier" in result.seconds
    assert result.base_accuracy > 50


def test_classes_that_the_network_knows_are_no_new_ones(birds, tmp_path):
    with pytest.raises(InputError, match=r"trained on 1 of the val classes \(w is one\)"):
        run(_settings(birds, tmp_path / "n.safetensors", classes=("a", "w")))


def test_a_cache_that_cannot_hold_the_features_is_named_before_they_are_computed(birds, tmp_path, monkeypatch):
    settings = _settings(birds, tmp_path / "n.safetensors")
    run(settings)
    (tmp_path / "file").touch()
    monkeypatch.setattr(
        "pyro_sib.experiments.job.features.build_bank", lambda *args, **kwargs: pytest.fail("called")
    )
    data = load_data(settings.resolved(), Reporter())
    blocked = replace(settings.resolved(), cache_dir=tmp_path / "file")
    with pytest.raises(InputError, match=r"--cache-dir .*file/banks cannot be written to"):
        prepare(data, blocked, "val", torch.device("cpu"), Reporter())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 32}, "of images of 16 pixels; leave out --image-size 32"),
        ({"features": "x.npz", "data_root": None}, "--network needs images"),
        ({"network": "nothing"}, "no feature network nothing"),
    ],
)
def test_what_does_not_go_with_a_network_gets_one_line(birds, tmp_path, change, message):
    settings = _settings(birds, tmp_path / "n.safetensors")
    with pytest.raises(InputError, match=message):
        replace(settings, **change).resolved()
