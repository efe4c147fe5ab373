"""A learner trained from arrays: features, or pictures through a network of its own."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pyro_sib import FewShotClassifier, InputError
from pyro_sib.features.network_card import SHIPPED
from pyro_sib.features.recipe import PretrainSettings
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.fit_learner import FitSettings
from pyro_sib.inference.learner_file import load_learner, save_learner
from pyro_sib.inference.settings.card import ShippedNetwork
from pyro_sib.inference.settings.training import TrainSettings
from tests.worlds import clusters

SMALL = FitSettings(
    ways=3,
    queries=3,
    inside=GuideSettings(steps=1, synthetic_gradient="context"),
    training=TrainSettings(4, 2, learning_rate=1e-3, schedule="cosine"),
    pretrain=PretrainSettings(image_size=16, epochs=1, batch_size=16),
    select_tasks=5,
)


def labeled(classes: int = 6):
    data = clusters(classes, 8, seed=2)
    return data.x.numpy(), [data.class_names[i] for i in data.y.tolist()]


@pytest.mark.parametrize("joint", [False, True])
def test_a_learner_of_features(tmp_path, joint):
    x, names = labeled()
    mixed = np.random.default_rng(0).permutation(len(x))
    state = torch.get_rng_state()
    fitted = [
        FewShotClassifier.fit(x[order], [names[i] for i in order], replace(SMALL, joint=joint))
        for order in (np.arange(len(x)), mixed)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    learner = fitted[0]
    assert learner.card.base_classes == tuple(sorted(set(names)))
    assert learner.card.learner.prior == ("mixture" if joint else "diagonal")
    assert learner.card.learner.weights.kl == (0.032 if joint else 0.1)
    assert all(0 <= m.accuracy <= 100 for m in learner.card.measured)
    learner.save(tmp_path / "mine.safetensors")
    back = FewShotClassifier.load(tmp_path / "mine.safetensors")
    task = {"p": x[:1], "q": x[8:10]}, x[10:14]
    assert np.array_equal(back.predict(*task).probabilities, learner.predict(*task).probabilities)


def test_a_learner_of_pictures_goes_on_where_it_was_interrupted(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (36, 16, 16, 3), dtype=np.uint8)
    labels, told = np.arange(36) % 4, []

    def stop(stage: str, done: int, total: int) -> None:
        told.append(stage)
        if stage == "learner" and done == 3:
            raise KeyboardInterrupt

    whole = FewShotClassifier.fit(pixels, labels, SMALL)
    with pytest.raises(KeyboardInterrupt):
        FewShotClassifier.fit(pixels, labels, SMALL, checkpoints=tmp_path, on_progress=stop)
    assert set(told) == {"feature network", "learner"}
    told.clear()
    resumed = FewShotClassifier.fit(
        pixels, labels, SMALL, checkpoints=tmp_path, on_progress=lambda stage, done, total: told.append(stage)
    )
    assert told == ["learner"] * 2
    task = {"p": pixels[:1], "q": pixels[1:3]}, pixels[3:6]
    assert np.array_equal(whole.predict(*task).probabilities, resumed.predict(*task).probabilities)


def test_what_cannot_be_trained_on_is_one_clear_line():
    x, names = labeled()
    with pytest.raises(InputError, match="48 examples but 47 labels"):
        FewShotClassifier.fit(x, names[1:], SMALL)
    with pytest.raises(InputError, match="the examples has 2 classes, fewer than the 3 of a task"):
        FewShotClassifier.fit(x[:16], names[:16], SMALL)
    with pytest.raises(InputError, match="has 8 images"):
        FewShotClassifier.fit(x, names, replace(SMALL, queries=9))
    with pytest.raises(InputError, match="no feature network nowhere"):
        FewShotClassifier.fit(np.zeros((4, 8, 8, 3), np.uint8), [1, 1, 2, 2], replace(SMALL, network="nowhere"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guide": "exact-gradient"}, "looks at the queries' labels"),
        ({"guide": "matching", "joint": True}, "cannot classify among base and new classes"),
        ({"guide": "nobody"}, "unknown guide 'nobody'"),
        ({"prior": "nobody"}, "unknown prior 'nobody'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_training(monkeypatch, changes, message):
    monkeypatch.setattr("pyro_sib.inference.fit_learner.pretrain", lambda *args: pytest.fail("trained"))
    pixels = np.zeros((36, 16, 16, 3), np.uint8)
    with pytest.raises(InputError, match=message):
        FewShotClassifier.fit(pixels, np.arange(36) % 4, replace(SMALL, **changes))


def test_another_training_does_not_go_on_from_these_checkpoints(tmp_path):
    x, names = labeled()
    FewShotClassifier.fit(x, names, SMALL, checkpoints=tmp_path)
    with pytest.raises(InputError, match="trained on other data, features or settings"):
        FewShotClassifier.fit(x, names, replace(SMALL, kl_weight=0.2), checkpoints=tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 36, 16, 16, 3), dtype=np.uint8)
    (tmp_path / "learner-training.safetensors").unlink()
    for content in pixels:
        FewShotClassifier.fit(content, np.arange(36) % 4, SMALL, checkpoints=tmp_path)
        (tmp_path / "learner-training.safetensors").unlink()
    assert len(list(tmp_path.glob("*.safetensors"))) == 2, "each set of pictures has a network of its own"


def test_a_network_that_comes_with_the_project_is_taken(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 20, 20, 3), dtype=np.uint8)
    learner = FewShotClassifier.fit(pixels, np.arange(16) % 4, replace(SMALL, network="mini-imagenet-c64f"))
    assert (learner.card.pictures.backbone, learner.card.pictures.image_size) == ("c64f", 84)
    assert learner.predict({"p": pixels[:1], "q": pixels[1:3]}, pixels[3:6]).probabilities.shape == (3, 2)


def test_a_file_may_name_a_network_that_comes_with_the_project_in_place_of_holding_it(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (16, 20, 20, 3), dtype=np.uint8)
    name = "mini-imagenet-c64f"
    fitted = FewShotClassifier.fit(pixels, np.arange(16) % 4, replace(SMALL, network=name))
    fitted.save(tmp_path / "whole.safetensors")
    learner = load_learner(tmp_path / "whole.safetensors")

    def save(digest):
        pictures = replace(learner.card.pictures, shipped=ShippedNetwork(name, digest))
        save_learner(
            tmp_path / "named.safetensors", replace(learner, card=replace(learner.card, pictures=pictures))
        )

    save(SHIPPED[name])
    whole, named = (tmp_path / f"{kind}.safetensors" for kind in ("whole", "named"))
    weights = sum(one.numel() * one.element_size() for one in learner.backbone.state_dict().values())
    assert whole.stat().st_size - named.stat().st_size > 0.9 * weights
    task = {"p": pixels[:1], "q": pixels[1:3]}, pixels[3:6]
    again = FewShotClassifier.load(named).predict(*task)
    assert np.array_equal(again.probabilities, fitted.predict(*task).probabilities)
    save("0" * 64)
    with pytest.raises(InputError, match="its feature network mini-imagenet-c64f, SHA-256 000000000000, does not"):
        load_learner(named)
