"""Runs on a feature network that others trained: new classes are measured, those that it has seen are not."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pyro_sib.data import read_images
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import load_data, prepare
from pyro_sib.experiments.job.run import run
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.network_file import load_network
from pyro_sib.inference.learner_file import load_learner


def _folders(root, new):
    """Three base classes and three new ones, a colour each, of 16-pixel pictures."""
    rng = np.random.default_rng(0)
    for split, names in (("train", ("crow", "gull", "wren")), ("val", new)):
        for name in names:
            colour, folder = rng.integers(0, 160, 3), root / split / name
            folder.mkdir(parents=True)
            for index in range(8):
                pixels = colour + rng.integers(0, 90, (16, 16, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside")
    return RunSettings(
        setting="standard",
        data="folders",
        data_root=_folders(folder / "birds", ("heron", "ibis", "tern")),
        network="lite0",
        image_size=32,
        split="val",
        ways=2,
        queries=2,
        iterations=4,
        epochs=2,
        select_tasks=4,
        eval_tasks=6,
        draws=2,
        compare=False,
        out=folder / "out",
        cache_dir=folder / "cache",
    )


def test_a_run_and_its_learner_have_the_same_features(settings, tmp_path):
    result = run(settings)
    assert (result.backbone, result.data.image_size, result.options["network"]) == (
        "efficientnet-lite0",
        32,
        "lite0",
    )
    pictures = load_learner(settings.out / "learner.safetensors").card.pictures
    assert (pictures.outside.name, pictures.image_size, pictures.fit) == ("lite0", 32, "crop")
    banks = list((settings.cache_dir / "banks").iterdir())
    own = replace(settings, network=None, image_size=None, learner=str(settings.out / "learner.safetensors"))
    again = run(replace(own, setting=None, ways=2, iterations=None, epochs=None, out=tmp_path / "again"))
    assert again.metrics == result.metrics
    assert list((settings.cache_dir / "banks").iterdir()) == banks


def test_accuracies_on_classes_that_it_has_seen_are_refused(settings, tmp_path):
    seen = _folders(tmp_path / "seen", ("n01532829", "ibis", "tern"))
    asked = replace(settings, data_root=seen, out=tmp_path / "out")
    with pytest.raises(InputError, match=r"--network lite0 was trained on ImageNet's 1000 classes.*--train-only"):
        run(asked)
    run(settings)
    learner = str(settings.out / "learner.safetensors")
    own = replace(asked, network=None, image_size=None, learner=learner, iterations=None, epochs=None)
    with pytest.raises(InputError, match=r"--learner .* was trained on ImageNet.*evaluate on other data$"):
        run(replace(own, out=tmp_path / "other"))


def test_a_learner_for_any_task_takes_the_features_of_another_network(settings, tmp_path):
    plain = dict.fromkeys(("setting", "image_size", "iterations", "epochs"))
    own = replace(settings, **plain | {"select_tasks": 500}, learner="lite0")
    other = replace(own, network="mini-imagenet-c64f", out=tmp_path / "other")
    result = run(other)
    assert (result.backbone, result.data.image_size) == ("c64f", 84)
    bank = prepare_bank(replace(settings, image_size=None, network="mini-imagenet-c64f"))
    np.savez(tmp_path / "bank.npz", **bank)
    given = replace(own, network=None, data_root=None, data="synthetic", features=tmp_path / "bank.npz")
    features = run(replace(given, out=tmp_path / "given"))
    assert features.backbone is None
    assert features.metrics["novel"].mean > 50
    classes = replace(other, data_root=_folders(tmp_path / "seen", ("n01532829", "n01704323", "tern")))
    with pytest.raises(InputError, match="--learner lite0 was trained on 2 of the val classes"):
        run(replace(classes, out=tmp_path / "seen-out"))
    names = load_network("mini-imagenet-c64f-held16")[1].classes
    unheld = sorted({*load_network("mini-imagenet-c64f")[1].classes} - {*names})[:3]
    again = replace(other, network="mini-imagenet-c64f-held16", data_root=_folders(tmp_path / "unheld", unheld))
    with pytest.raises(InputError, match="--learner lite0 was trained on 3 of the val classes"):
        run(replace(again, out=tmp_path / "unheld-out"))
    with pytest.raises(InputError, match="--network is for training, and --learner trains nothing"):
        replace(other, learner="mini-imagenet-resnet12-1shot-mlp").resolved()
    with pytest.raises(InputError, match="takes images; leave --features out"):
        replace(given, learner="mini-imagenet-resnet12-1shot-mlp").resolved()


def prepare_bank(settings):
    """The arrays of a file of features, those of the settings' network."""
    job = settings.resolved()
    bank = prepare(load_data(job, Reporter()), job, "val", torch.device("cpu"), Reporter()).bank
    parts = {"train": "base_train", "val": "val"}
    return {f"{n}_{k}": getattr(bank.split(split), k).numpy() for n, split in parts.items() for k in "xy"}


def test_a_learner_may_be_trained_on_what_it_has_seen_and_nothing_is_measured(settings, tmp_path, capsys):
    seen = _folders(tmp_path / "seen", ("n01532829", "ibis", "tern"))
    out = tmp_path / "out"
    assert run(replace(settings, data_root=seen, out=out, train_only=True), Reporter()) is None
    assert load_learner(out / "learner.safetensors").card.measured == ()
    assert not [name for name in ("result.json", "tasks.csv") if (out / name).exists()]
    said = capsys.readouterr()
    assert "nothing measured" in said.out
    assert not re.search(r"\d ?%", said.out + said.err)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tune_features": True}, "--network lite0 is used as it is; leave --tune-features out"),
        ({"image_size": 16}, "image_size 16: lite0 takes pictures of 32 to 1024"),
        ({"train_only": True, "posterior_tasks": 2}, "--posterior-tasks 2 with --train-only"),
    ],
)
def test_what_does_not_go_together_gets_one_line(settings, change, message):
    with pytest.raises(InputError, match=message):
        replace(settings, **change).resolved()


def test_data_of_a_small_size_of_their_own_are_kept_at_it(settings, tiny_world):
    job = replace(settings, data="synthetic", data_root=None, image_size=None).resolved()
    assert (job.image_size, job.picture_fit) == (224, "crop")
    assert replace(settings, network=None).resolved().picture_fit == "squash"
    assert load_data(job, Reporter()).split("val").x.shape[-1] == 32
    sides = [
        read_images(settings.data_root, 24, settings.cache_dir / "images", at_most={name: 16})
        .split("val")
        .x.shape[-1]
        for name in ("folders", "mini-imagenet")
    ]
    assert sides == [16, 24]


def test_pictures_are_read_as_the_learner_sees_them(settings, tmp_path):
    """Cropped and squashed pictures are different data, in caches of their own."""
    wide = tmp_path / "wide"
    for number, name in enumerate(("train/a", "train/b", "train/c", "val/d", "val/e", "val/f")):
        (wide / name).mkdir(parents=True)
        for index in range(4):
            pixels = np.full((16, 40, 3), 4 * number + index, np.uint8)
            pixels[:, 12:28] += 100
            Image.fromarray(pixels).save(wide / name / f"{index}.png")
    jobs = [replace(settings, data_root=wide, picture_fit=fit).resolved() for fit in ("squash", "crop")]
    squashed, cropped = (load_data(job, Reporter()) for job in jobs)
    assert int(cropped.split("val").x.min()) == 112
    assert int(squashed.split("val").x.min()) == 12
    assert squashed.fingerprint != cropped.fingerprint
