from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from pyro_sib.backbones import BACKBONES, make_backbone
from pyro_sib.data import DataSet, Split
from pyro_sib.data.names import BASE_TRAIN, BASE_VAL, TEST
from pyro_sib.errors import InputError
from pyro_sib.features.augment import Augmentation, jittered, mixed, normalize, random_crop_flip, rotated
from pyro_sib.features.bank import build_bank, fit_base_classifier
from pyro_sib.features.pixels import MEAN, STD
from pyro_sib.features.pretrain import (
    base_accuracy,
    checkpoint_name,
    choose_precision,
    extract,
    learning_rate,
    pretrain,
)
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.tensor_files import read_tensors, write_tensors
from tests.worlds import clusters

CPU = torch.device("cpu")
SETTINGS = PretrainSettings("c64f", 16, epochs=3, batch_size=8)
EVERYTHING = replace(
    SETTINGS,
    epochs=8,
    learning_rate=0.05,
    label_smoothing=0.1,
    mixup=0.2,
    colour=0.1,
    crop=0.5,
    rotation=0.2,
    averaging=0.5,
    precision="bfloat16",
)


def _images(rows: int = 8, seed: int = 0) -> Split:
    """Three classes of one colour each, with noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(3).repeat_interleave(rows)
    noise = torch.randint(0, 120, (len(y), 3, 16, 16), generator=generator)
    colour = 135 * torch.eye(3, dtype=torch.int64)[y][:, :, None, None]
    return Split((noise + colour).to(torch.uint8), y, ("red", "green", "blue"))


def _train(path, stop_after=None, settings=SETTINGS):
    def on_epoch(record):
        if record.epoch == stop_after:
            raise KeyboardInterrupt

    return pretrain(_images(), _images(2, seed=1), settings, CPU, path, on_epoch=on_epoch)


@pytest.mark.parametrize("settings", [SETTINGS, EVERYTHING], ids=["plain", "everything"])
def test_it_learns_and_resumes_to_the_same_bits(tmp_path, settings):
    whole = _train(tmp_path / "a.safetensors", settings=settings)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "b.safetensors", stop_after=1, settings=settings)
    resumed = _train(tmp_path / "b.safetensors", settings=settings)
    assert resumed.log == whole.log
    for a, b in zip(whole.backbone.state_dict().values(), resumed.backbone.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(whole.classifier.weight, resumed.classifier.weight)
    others = _images(4, seed=2)
    assert base_accuracy(whole.classifier, others.with_x(extract(whole.backbone, others.x, CPU)), CPU) > 90


def test_a_finished_run_is_only_loaded(tmp_path):
    first = _train(tmp_path / "a.safetensors")
    again = pretrain(
        _images(), None, SETTINGS, CPU, tmp_path / "a.safetensors", on_batch=lambda d, t: pytest.fail("called")
    )
    assert torch.equal(first.classifier.weight, again.classifier.weight)


def test_the_checkpoint_name_follows_content_and_recipe():
    names = {
        checkpoint_name(_images(), SETTINGS),
        checkpoint_name(_images(seed=1), SETTINGS),
        checkpoint_name(_images(), replace(SETTINGS, epochs=4)),
    }
    assert len(names) == 3
    assert checkpoint_name(_images(), SETTINGS) in names


def test_too_few_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="24 base images are fewer than one batch of 64"):
        _train(tmp_path / "a.safetensors", settings=PretrainSettings("c64f", 16))


def test_schedules():
    step = PretrainSettings(schedule="step")
    rates = [learning_rate(step, e / 60) for e in (0, 19, 20, 40, 50)]
    assert rates == pytest.approx([0.1, 0.1, 0.006, 0.0012, 0.00024])
    cosine = [learning_rate(PretrainSettings(), p) for p in (0.03, 0.5, 0.999)]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("name", "features"),
    [
        *(("c64f", 64), ("c128f", 128), ("resnet12", 640), ("wrn-28-10", 640)),
        *(("efficientnet-lite0", 1280), ("efficientnet-lite2", 1280)),
    ],
)
def test_backbones_map_images_to_features(name, features):
    net = make_backbone(name, 16).eval()
    with torch.no_grad():
        assert net(torch.randn(2, 3, 16, 16)).shape == (2, features)


def test_published_feature_sizes_at_84_pixels():
    with torch.no_grad():
        for name, features in (("c64f", 1600), ("c128f", 3200)):
            assert make_backbone(name, 84).eval()(torch.randn(1, 3, 84, 84)).shape == (1, features)


def test_unknown_backbones_and_small_images_are_refused():
    with pytest.raises(InputError, match=f"choose one of {', '.join(BACKBONES)}"):
        make_backbone("vgg", 84)
    with pytest.raises(InputError, match="too small"):
        make_backbone("c64f", 8)


def test_augmentation_shifts_and_flips_each_image_on_its_own():
    images = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).repeat(50, 1, 1, 1).to(torch.uint8)
    plain = normalize(images)
    moved = random_crop_flip(plain, 1, torch.Generator().manual_seed(0))
    assert moved.shape == plain.shape
    assert len({tuple(image.flatten().tolist()) for image in moved[::2]}) > 10
    still = random_crop_flip(plain, 0, torch.Generator().manual_seed(0))
    for before, after in zip(plain, still, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))


def test_the_bank_is_cached_by_content(tmp_path):
    data = DataSet("d", {BASE_TRAIN: _images(), BASE_VAL: _images(2, 1)}, "none", "fingerprint")
    torch.manual_seed(0)
    net = make_backbone("c64f", 16)
    bank = build_bank(data, net, CPU, tmp_path)
    assert bank.split(BASE_TRAIN).x.shape == (24, 64)
    held = bank.split(BASE_VAL).x
    again = build_bank(data, net, CPU, tmp_path, watched=lambda name: pytest.fail("called"))
    assert torch.equal(again.split(BASE_VAL).x, held)
    with torch.no_grad():
        next(net.parameters()).add_(1)
    assert not torch.equal(build_bank(data, net, CPU, tmp_path).split(BASE_VAL).x, held)
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("damaged", [False, True])
def test_a_bank_stopped_on_the_way_goes_on_from_what_is_done(tmp_path, monkeypatch, damaged):
    monkeypatch.setattr("pyro_sib.features.pretrain._SMALL", 8)
    monkeypatch.setattr("pyro_sib.features.pretrain._PIXELS_AT_ONCE", (4 * 16**2, 4 * 16**2))
    monkeypatch.setattr("pyro_sib.features.bank._KEPT_TOGETHER", 9)  # two batches of four
    data = DataSet("d", {BASE_TRAIN: _images(), BASE_VAL: _images(2, 1)}, "none", "fingerprint")
    net = make_backbone("c64f", 16)
    whole = build_bank(data, net, CPU, None)

    def stop(done, total):
        if done > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_bank(data, net, CPU, tmp_path, watched=lambda name: nullcontext(stop)).split(BASE_TRAIN)
    (piece,) = tmp_path.iterdir()
    if damaged:
        piece.write_bytes(piece.read_bytes()[:-4])
    seen, told = [], []
    net.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    bank = build_bank(
        data, net, CPU, tmp_path, watched=lambda name: nullcontext(lambda done, total: told.append((done, total)))
    )
    assert torch.equal(bank.split(BASE_TRAIN).x, whole.split(BASE_TRAIN).x)
    assert sum(seen) == 24 - (0 if damaged else 8)
    assert told[-1] == (24, 24)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_split_has_its_features_once_it_is_asked_for(tmp_path):
    data = DataSet("d", {BASE_TRAIN: _images(), BASE_VAL: _images(2, 1)}, "none", "fingerprint")
    net = make_backbone("c64f", 16)
    seen, before = [], extract(net, data.split(BASE_VAL).x, CPU)
    net.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    bank = build_bank(data, net, CPU, tmp_path)
    assert (list(bank.splits), len(bank.splits), TEST in bank.splits) == ([BASE_TRAIN, BASE_VAL], 2, False)
    assert not seen
    with torch.no_grad():
        next(net.parameters()).add_(1)  # the bank is of the weights as they were
    assert torch.equal(bank.split(BASE_VAL).x, before)
    assert bank.split(BASE_VAL) is bank.split(BASE_VAL)
    assert seen == [len(before)]
    assert [path.suffixes[0] for path in tmp_path.iterdir()] == [f".{BASE_VAL}"]


def test_pieces_beside_a_whole_are_dropped(tmp_path):
    data, net = DataSet("d", {BASE_TRAIN: _images()}, "none", "fingerprint"), make_backbone("c64f", 16)
    found = build_bank(data, net, CPU, tmp_path).split(BASE_TRAIN).x
    (whole,) = tmp_path.iterdir()
    write_tensors(whole.with_suffix(".8.safetensors"), {"features": found[8:]})
    assert torch.equal(build_bank(data, net, CPU, tmp_path).split(BASE_TRAIN).x, found)
    assert list(tmp_path.iterdir()) == [whole]


def test_a_damaged_bank_is_computed_again(tmp_path):
    data = DataSet("d", {BASE_TRAIN: _images()}, "none", "fingerprint")
    net = make_backbone("c64f", 16)
    bank = build_bank(data, net, CPU, tmp_path)
    bank.split(BASE_TRAIN)
    (path,) = tmp_path.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(build_bank(data, net, CPU, tmp_path).split(BASE_TRAIN).x, bank.split(BASE_TRAIN).x)


def test_the_base_classifier_on_features():
    split = clusters(6, 30, seed=0, spread=0.3)
    classifier = fit_base_classifier(split, seed=0, epochs=5)
    assert (classifier(split.x).argmax(-1) == split.y).float().mean() > 0.95


def test_a_mirrored_image_has_the_same_features_under_flips():
    images, net = _images().x, make_backbone("c64f", 16)
    plain, both = (extract(net, images, CPU, flips=flips) for flips in (False, True))
    assert torch.allclose(extract(net, images.flip(-1), CPU, flips=True), both, atol=1e-6)
    assert torch.allclose((plain + extract(net, images.flip(-1), CPU)) / 2, both, atol=1e-6)


def test_precision_is_asked_of_the_processor(monkeypatch):
    for supported, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert choose_precision("auto", CPU, 84) == expected
    assert choose_precision("auto", CPU, 32) == "float32"
    assert choose_precision("bfloat16", CPU, 32) == "bfloat16"
    assert choose_precision("auto", torch.device("cuda"), 32) == "bfloat16"


def test_bfloat16_is_as_accurate_as_float32_and_keeps_its_weights_in_float32(tmp_path):
    """Paired: the same images, order and first weights; the fresh images are told apart some of the time only."""
    hard = replace(SETTINGS, epochs=6, learning_rate=0.05)
    fresh, right, weights = _faint(40, seed=1), {}, []
    for precision in ("float32", "bfloat16"):
        settings = replace(hard, precision=precision)
        found = pretrain(_faint(20), None, settings, CPU, tmp_path / f"{precision}.safetensors")
        assert all(v.dtype == torch.float32 for v in found.backbone.state_dict().values() if v.is_floating_point())
        guess = found.classifier(extract(found.backbone, fresh.x, CPU)).argmax(-1)
        weights.append(found.classifier.weight)
        right[precision] = (guess == fresh.y).double()
    assert not torch.equal(*weights), "the arithmetic differs"
    gain = right["bfloat16"] - right["float32"]
    assert 0.5 < right["float32"].mean() < 0.99, "neither guessing nor too easy"
    assert gain.mean() + 3 * gain.std() / len(gain) ** 0.5 >= 0
    assert gain.mean() > -0.1


def _faint(rows: int, seed: int = 0) -> Split:
    """Three classes whose colours hardly stand out of the noise."""
    images = _images(rows, seed)
    noise = torch.randint(0, 256, images.x.shape, generator=torch.Generator().manual_seed(seed + 9))
    return images.with_x((0.12 * images.x + 0.88 * noise).to(torch.uint8))


def test_turns_go_round_the_batch():
    images = torch.randn(8, 3, 5, 5)
    turned = rotated(images)
    assert torch.equal(turned[4], images[4])
    assert torch.equal(turned[5], torch.rot90(images[5], 1, (1, 2)))
    assert torch.equal(torch.rot90(turned[7], 1, (1, 2)), images[7])


def test_a_mixture_is_of_the_share_that_it_says():
    images, labels = torch.randn(6, 3, 4, 4), torch.arange(6)
    x, other, share = mixed(images, labels, 1.0, torch.Generator().manual_seed(0))
    assert 0 < share < 1
    assert sorted(other.tolist()) == labels.tolist()
    assert torch.allclose(x, share * images + (1 - share) * images[other])


def test_jitter_scales_brightness_within_its_strength_and_keeps_grey_grey():
    grey = torch.full((50, 3, 4, 4), 100, dtype=torch.uint8)
    seen = jittered(grey, 0.4, torch.Generator().manual_seed(0))
    assert torch.allclose(seen, seen[:, :1, :1, :1].expand_as(seen), atol=1e-3)
    assert 60 <= float(seen.min()) < 75
    assert 125 < float(seen.max()) <= 140


def test_a_resized_crop_keeps_the_colours_of_an_even_image_and_moves_a_pattern():
    even = torch.full((4, 3, 16, 16), 90, dtype=torch.uint8)
    crop = Augmentation(2, crop=0.3)
    assert torch.allclose(crop(even, torch.Generator().manual_seed(0)), normalize(even), atol=1e-5)
    ramp = (torch.arange(16) * 16).to(torch.uint8).expand(40, 3, 16, 16)
    seen = crop(ramp, torch.Generator().manual_seed(0)) * torch.tensor(STD).view(3, 1, 1) * 255
    seen = seen + torch.tensor(MEAN).view(3, 1, 1) * 255
    spread = (seen[:, 0, 0, -1] - seen[:, 0, 0, 0]) / 240
    assert (spread < 0).any()  # flipped
    assert (spread > 0).any()
    assert float(spread.abs().min()) > 0.3  # no crop is narrower than the least area and the ratio allow
    assert float(spread.abs().max()) < 1.01


@pytest.mark.parametrize("rate", [1e6, 1e20])
def test_a_divergence_of_stage_1_blames_its_learning_rate_and_keeps_nothing(tmp_path, rate):
    path = tmp_path / "a.safetensors"
    with pytest.raises(InputError, match=r"stage 1 diverged.*lower learning_rate 1e"):
        _train(path, settings=replace(SETTINGS, learning_rate=rate))
    assert not path.exists()


def test_a_network_that_is_not_finite_is_trained_again(tmp_path):
    path = tmp_path / "a.safetensors"
    first = _train(path)
    tensors, meta = read_tensors(path)
    tensors = {k: t.clone() for k, t in tensors.items()}
    tensors["net.classifier.weight"][0, 0] = torch.nan
    write_tensors(path, tensors, meta)
    assert torch.equal(_train(path).classifier.weight, first.classifier.weight)


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors, meta: tensors.pop("net.classifier.scale"),
        lambda tensors, meta: tensors.update({"net.classifier.scale": torch.zeros(2)}),
        lambda tensors, meta: meta.pop("log"),
        lambda tensors, meta: meta["log"][0].pop("loss"),
    ],
)
def test_a_checkpoint_of_another_network_is_one_line(tmp_path, change):
    path = tmp_path / "a.safetensors"
    _train(path, settings=replace(SETTINGS, epochs=1))
    tensors, meta = read_tensors(path)
    change(tensors, meta)
    write_tensors(path, tensors, meta)
    with pytest.raises(InputError, match="no checkpoint of stage 1 of this version; delete it"):
        _train(path, settings=replace(SETTINGS, epochs=1))


@pytest.mark.parametrize("header", [{"meta": "[1]"}, {"meta": "{"}])
def test_metadata_that_are_none_are_one_line(tmp_path, header):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata=header)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_tensors(tmp_path / "a.safetensors")


@pytest.mark.parametrize("held", [{"other": torch.zeros(2)}, {"features": torch.zeros(3, 64)}])
def test_a_bank_of_something_else_is_computed_again(tmp_path, held):
    data = DataSet("d", {BASE_TRAIN: _images()}, "none", "fingerprint")
    net = make_backbone("c64f", 16)
    bank = build_bank(data, net, CPU, tmp_path)
    bank.split(BASE_TRAIN)
    (path,) = tmp_path.glob("*.safetensors")
    write_tensors(path, held)
    assert torch.equal(build_bank(data, net, CPU, tmp_path).split(BASE_TRAIN).x, bank.split(BASE_TRAIN).x)


def test_a_bank_that_is_not_finite_is_refused(tmp_path):
    data = DataSet("d", {BASE_TRAIN: _images()}, "none", "fingerprint")
    net = make_backbone("c64f", 16)
    with torch.no_grad():
        next(net.parameters()).fill_(torch.inf)
    with pytest.raises(InputError, match="features of base_train hold NaN or infinite numbers"):
        build_bank(data, net, CPU, tmp_path).split(BASE_TRAIN)
    assert not list(tmp_path.iterdir())


def test_a_base_classifier_that_is_not_finite_is_refused():
    split = clusters(3, 5, seed=0)
    split.x[4, 2] = torch.nan
    with pytest.raises(InputError, match="base classifier on the features became NaN"):
        fit_base_classifier(split, seed=0, epochs=1)
