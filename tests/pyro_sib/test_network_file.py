from dataclasses import replace

import pytest
import torch

from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import CosineClassifier
from pyro_sib.errors import InputError
from pyro_sib.features.network_card import SHIPPED, NetworkCard, read_card
from pyro_sib.features.network_file import load_network, save_network
from pyro_sib.features.pretrain import Pretrained
from pyro_sib.features.recipe import EpochRecord
from pyro_sib.tensor_files import read_tensors, write_tensors

CARD = NetworkCard(
    name="small",
    backbone="c64f",
    image_size=16,
    classes=("heron", "ibis", "сова"),
    data={"name": "birds"},
    recipe={},
    log=({"epoch": 1, "loss": 1.0, "train_accuracy": 50.0, "base_accuracy": 40.0},),
    made={},
    licence="none",
)


@pytest.fixture
def network() -> Pretrained:
    torch.manual_seed(0)
    return Pretrained(make_backbone("c64f", 16).eval(), CosineClassifier(64, 3), ())


def test_what_is_written_is_read_to_the_same_bits(tmp_path, network):
    save_network(tmp_path / "n.safetensors", network, CARD)
    again, card = load_network(str(tmp_path / "n.safetensors"))
    assert card == read_card(str(tmp_path / "n.safetensors")) == CARD
    assert again.log == (EpochRecord(1, 1.0, 50.0, 40.0),)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(again.classifier(again.backbone(x)), network.classifier(network.backbone(x)))


def test_half_precision_is_for_the_file_alone(tmp_path, network):
    save_network(tmp_path / "n.safetensors", network, CARD, torch.float16)
    weight = load_network(str(tmp_path / "n.safetensors"))[0].classifier.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, network.classifier.weight.half().float())


def _mislabel(tensors, meta):
    return tensors, {**meta, "card": {**meta["card"], "classes": ["heron"]}}


def _lose(tensors, meta):
    return {k: v for k, v in tensors.items() if not k.endswith("running_mean")}, meta


def _poison(tensors, meta):
    return {**tensors, "classifier.scale": torch.tensor(float("nan"))}, meta


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: (t, {**m, "format": 2}), "of this version"),
        (lambda t, m: (t, {}), "of this version"),
        (lambda t, m: (t, {**m, "card": {**m["card"], "backbone": "vgg"}}), "this version knows c64f"),
        (_mislabel, "1 classes are named"),
        (_lose, "are not those of c64f"),
        (_poison, "not finite"),
    ],
)
def test_a_file_that_cannot_serve_gets_one_line(tmp_path, network, change, message):
    path = tmp_path / "n.safetensors"
    save_network(path, network, CARD)
    tensors, meta = read_tensors(path)
    write_tensors(path, *change({k: v.clone() for k, v in tensors.items()}, meta))
    with pytest.raises(InputError, match=message) as error:
        load_network(str(path))
    assert "\n" not in str(error.value)


def test_missing_and_truncated_files_get_one_line(tmp_path, network):
    with pytest.raises(InputError, match="no feature network nowhere: give a file, or one of mini-imagenet-c64f"):
        read_card("nowhere")
    path = tmp_path / "n.safetensors"
    save_network(path, network, CARD)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_network(str(path))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_networks_that_come_with_the_project_are_what_they_were(name):
    network, card = load_network(name)
    assert card.name == name
    assert len(card.classes) == (48 if name.endswith("held16") else 64)
    assert card.log[-1]["base_accuracy"] > 60
    with torch.no_grad():
        x = network.backbone(torch.randn(2, 3, 84, 84, generator=torch.Generator().manual_seed(0)))
    assert x.shape[1] == network.classifier.weight.shape[1]
    assert bool(x.isfinite().all())


def test_another_file_under_a_known_name_is_refused(tmp_path, network, monkeypatch):
    save_network(tmp_path / "mini-imagenet-c64f.safetensors", network, replace(CARD, name="mini-imagenet-c64f"))
    monkeypatch.setattr("pyro_sib.features.network_card._FOLDER", tmp_path)
    with pytest.raises(InputError, match="not the file that came with this version"):
        load_network("mini-imagenet-c64f")
