"""Networks of timm, with random weights and a made-up checkpoint; without a network connection."""

import sys

import pytest
import torch
from torch import nn

from pyro_sib.errors import InputError
from pyro_sib.features.timm_network import load_timm
from pyro_sib.inference.classifier import FewShotClassifier


class Shrink(nn.Module):
    """The mean colour of the corners and of the whole of a picture."""

    num_features = 6

    def __init__(self, size=16):
        super().__init__()
        self.size, self.pretrained_cfg = size, {"license": "of-the-test"}

    def forward(self, x):
        assert x.shape[-2:] == (self.size, self.size)
        return torch.cat([x.mean((2, 3)), x[..., 0, 0]], 1)


class FakeData:
    @staticmethod
    def resolve_model_data_config(model):
        return {"input_size": (3, 16, 16), "crop_pct": 0.8, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7)}


class Fake:
    """What is used of timm."""

    __version__, data = "0", FakeData

    @staticmethod
    def is_model(name):
        return name == "shrink"

    @staticmethod
    def list_models(pattern):
        return ["shrink"]

    @staticmethod
    def create_model(name, pretrained, num_classes):
        assert (pretrained, num_classes) == (True, 0)
        if name.endswith("offline"):
            raise OSError("no\nconnection")
        return Shrink()


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr("pyro_sib.features.timm_network.find_spec", lambda name: True)
    monkeypatch.setitem(sys.modules, "timm", Fake)


def test_its_own_size_crop_and_pixels_are_taken(fake):
    found = load_timm("shrink")
    assert (found.image_size, found.features, found.licence) == (20, 6, "of-the-test")
    assert (found.pixels.mean, found.pixels.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    x = torch.arange(1200.0).view(1, 3, 20, 20)
    torch.testing.assert_close(found.backbone(x), Shrink()(x[..., 2:18, 2:18]))


def test_a_learner_of_any_size_takes_it(fake):
    learner = FewShotClassifier.pretrained("lite0", features="timm:shrink")
    assert learner.card.features == 6
    assert "timm:shrink (of-the-test)" in learner.card.name
    pictures = torch.zeros(4, 24, 30, 3, dtype=torch.uint8)
    for row, colour in enumerate(((250, 0, 0), (0, 0, 250), (240, 10, 10), (10, 10, 240))):
        pictures[row] = torch.tensor(colour, dtype=torch.uint8)
    one, two, *queries = list(pictures.numpy())
    result = learner.predict({"red": [one], "blue": [two]}, queries, draws=0)
    assert result.labels.tolist() == ["red", "blue"]


@pytest.mark.parametrize(
    ("name", "says"),
    [("nobody", "knows no network 'nobody'; choose .* as shrink"), ("shrink.offline", "no connection")],
)
def test_what_cannot_be_had_is_one_line(fake, name, says):
    with pytest.raises(InputError, match=says) as error:
        load_timm(name)
    assert "\n" not in str(error.value)


def test_without_timm_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("pyro_sib.features.timm_network.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r"needs the package timm, which is not installed; install pyro-sib\[timm\]"
    ):
        load_timm("resnet18")


def test_a_learner_of_one_network_takes_no_other():
    with pytest.raises(InputError, match="knows the features that it was trained on alone"):
        FewShotClassifier.pretrained("mini-imagenet-c128f-1shot", features="lite0")


def test_a_checkpoint_that_timm_saved_needs_no_network(tmp_path):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model("test_vit", num_classes=3, img_size=32)
    timm.models.save_for_hf(model, tmp_path, model_config={"num_classes": 3})
    found = load_timm(f"local-dir:{tmp_path}")
    size = found.backbone.size if hasattr(found.backbone, "size") else found.image_size
    x = torch.rand(2, 3, found.image_size, found.image_size)
    start = (found.image_size - size) // 2
    model.reset_classifier(0)
    with torch.no_grad():
        expected = model.eval()(x[..., start : start + size, start : start + size])
    torch.testing.assert_close(found.backbone(x), expected)
    assert found.features == expected.shape[1]
