"""A learner in one object: what it takes, what it gives, what it leaves alone."""

import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch
from PIL import Image

from pyro_sib import FewShotClassifier, InputError
from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import unit
from pyro_sib.inference import LEARNERS, GuideSettings
from pyro_sib.inference.learner_file import TrainedLearner, load_learner, save_learner
from pyro_sib.inference.program import build_program
from pyro_sib.inference.settings import LearnerSettings
from pyro_sib.inference.settings.card import LearnerCard, PictureSettings, TaskSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource
from pyro_sib.tensor_files import read_tensors, write_tensors
from tests.worlds import clusters

FEATURES, BASE = 7, 5
CPU = torch.device("cpu")


def learner(pictures: bool = False, propagation: float = 0.0, kl: float = 0.01, **changes) -> TrainedLearner:
    """One that nobody has trained: of 7 features, or of the 64 of a network for pictures of 16 pixels."""
    features = 64 if pictures else FEATURES
    choices = {
        "guide": "sib",
        "ways": 3,
        "weights": ObjectiveWeights(kl),
        "inside": GuideSettings(steps=2),
    } | changes
    if LEARNERS[choices["guide"]].coordinates:
        choices["coordinates"] = 5
    settings = LearnerSettings(**choices)
    base = unit(torch.randn(BASE, features, generator=torch.Generator().manual_seed(0)))
    program = build_program(settings, features, base, CPU)
    torch.manual_seed(3)
    backbone = make_backbone("c64f", 16).eval() if pictures else None
    for module in program.modules().values():
        module.eval()
    card = LearnerCard(
        name="of a test",
        learner=settings,
        features=features,
        pictures=PictureSettings("c64f", 16) if pictures else None,
        propagation=propagation,
        base_classes=tuple(f"base {c}" for c in range(BASE)),
        tasks=TaskSettings(3, 1, 4),
        training=TrainSettings(),
        draws=5,
        data={},
        measured=(),
        made={},
    )
    return TrainedLearner(program, backbone, base, card)


def test_a_learner_of_before_sees_features_as_they_are(tmp_path):
    """A file that says nothing of a power was trained without; its predictions are those of a power of one."""
    x = np.random.default_rng(1).gamma(0.3, size=(20, FEATURES)).astype(np.float32)
    support, queries = {"a": x[:2], "b": x[2:3], "c": x[3:6]}, x[6:]
    found = {}
    for power in (0.5, 1.0):
        save_learner(tmp_path / "l.safetensors", learner(guide="gaussian-mixture", power=power))
        found[power] = FewShotClassifier.load(tmp_path / "l.safetensors").predict(support, queries)
    tensors, meta = read_tensors(tmp_path / "l.safetensors")
    assert meta["card"]["learner"].pop("power") == 1
    write_tensors(tmp_path / "old.safetensors", {name: value.clone() for name, value in tensors.items()}, meta)
    before = FewShotClassifier.load(tmp_path / "old.safetensors").predict(support, queries)
    assert np.array_equal(before.probabilities, found[1.0].probabilities)
    assert np.abs(before.probabilities - found[0.5].probabilities).max() > 0.01
    # The numbers of "none of these" were fitted on roots, and see them whatever the learner sees.
    assert np.array_equal(before.none_of_these, found[0.5].none_of_these)


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(12, FEATURES)).astype(np.float32)


def uneven(rows):
    """Three classes of 2, 1 and 3 examples, and the queries."""
    return {"a": rows[:2], "b": rows[2:3], "c": rows[3:6]}, rows[6:]


def test_a_prediction_names_probabilities_and_uncertainty(rows):
    support, queries = uneven(rows)
    result = FewShotClassifier(learner()).predict(support, queries)
    assert result.classes == ("a", "b", "c")
    assert result.probabilities.shape == (6, 3)
    np.testing.assert_allclose(result.probabilities.sum(1), 1, atol=1e-5)
    assert list(result.labels) == [result.classes[i] for i in result.probabilities.argmax(1)]
    assert (result.mutual_information <= result.entropy).all()
    assert (result.entropy <= np.log(3) + 1e-5).all()
    assert len(result) == 6


@pytest.mark.parametrize("guide", [name for name in LEARNERS if not LEARNERS[name].oracle])
@pytest.mark.parametrize("joint", [False, True])
def test_every_learner_serves_classes_of_different_sizes(rows, guide, joint):
    if joint and not LEARNERS[guide].serves_joint:
        return
    support, queries = uneven(rows)
    prior = "mixture" if joint else "diagonal"
    classifier = FewShotClassifier(learner(guide=guide, joint=joint, prior=prior))
    result = classifier.predict(support, queries)
    assert result.probabilities.shape == (6, 3 + BASE * joint)
    assert np.isfinite(result.probabilities).all()
    if joint:
        assert result.classes == ("base 0", "base 1", "base 2", "base 3", "base 4", "a", "b", "c")
    turned = classifier.predict({name: value[::-1] for name, value in support.items()}, queries)
    if guide not in ("matching", "snail"):  # which read the labeled examples one after another
        np.testing.assert_allclose(turned.probabilities, result.probabilities, atol=1e-4)


def test_it_predicts_what_evaluation_predicts(rows):
    trained = learner(propagation=0.4)
    data = clusters(6, 8, seed=1)
    sampler = EpisodeSampler(data, None, EpisodeShape(3, 2, 4), task_key("", 0, "test"), "test")
    source = TaskSource(sampler, data.x, None)
    episode = source.episodes(torch.arange(1))
    support = {str(c): episode.evidence.support_x[0][episode.evidence.support_y[0] == c] for c in range(3)}
    result = FewShotClassifier(trained).predict(support, episode.evidence.query_x[0], draws=4)
    moved = replace(source, propagation=Propagation(0.4))
    (expected,) = trained.program.guide.probabilities(moved.episodes(torch.arange(1)).evidence, 4)
    np.testing.assert_allclose(result.probabilities, expected[0].numpy(), atol=1e-6)
    unmoved = FewShotClassifier(learner()).predict(support, episode.evidence.query_x[0], draws=4)
    assert not np.allclose(result.probabilities, unmoved.probabilities, atol=1e-3)


def test_a_posterior_is_a_pyro_distribution(rows):
    support, queries = uneven(rows)
    classifier = FewShotClassifier(learner())
    posterior = classifier.posterior(support, queries)
    assert (posterior.batch_shape, posterior.event_shape) == ((3,), (FEATURES,))
    result = classifier.predict(support, queries, draws=30)
    idata = result.to_arviz()
    w = idata["posterior"]["w"]
    assert w.shape == (1, 30, 3, FEATURES)
    assert list(w["class"].values) == ["a", "b", "c"]
    spread = np.abs(w.values[0].mean(0) - posterior.mean.numpy()) / posterior.stddev.numpy()
    assert spread.max() < 5 / np.sqrt(30)
    np.testing.assert_allclose(
        idata["posterior_predictive"]["probability"].values[0].mean(0), result.probabilities, atol=1e-6
    )
    with pytest.raises(InputError, match="predict with draws of 1 or more"):
        classifier.predict(support, queries, draws=0).to_arviz()
    with pytest.raises(InputError, match="no posterior over weights"):
        FewShotClassifier(learner(guide="prototypical")).posterior(support, queries)


def test_one_query_and_one_feature_and_names_of_any_script():
    one = build_program(LearnerSettings(ways=2), 1, None, CPU)
    card = replace(learner().card, features=1, base_classes=(), learner=LearnerSettings(ways=2))
    result = FewShotClassifier(TrainedLearner(one, None, None, card)).predict(
        {"цапля": np.ones((1, 1)), "朱鷺": -np.ones((2, 1))}, np.ones((1, 1))
    )
    assert list(result.labels) == ["цапля"]


def test_a_learner_for_one_number_of_classes_says_so(rows):
    two = {"a": rows[:2], "b": rows[2:3]}
    with pytest.raises(InputError, match="support has 2 classes, but this learner serves tasks of 3 classes alone"):
        FewShotClassifier(learner()).predict(two, rows[6:])
    free = learner(inside=GuideSettings(steps=2, synthetic_gradient="context"))
    assert FewShotClassifier(free).predict(two, rows[6:]).probabilities.shape == (6, 2)


def pictures(folder) -> list:
    """The same picture as a path, a Pillow image, an array, and another one."""
    pixels = np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return [str(folder / "a.png"), folder / "a.png", Image.fromarray(pixels), pixels, pixels[::-1].copy()]


def test_pictures_of_every_kind_are_the_same_picture(tmp_path):
    classifier, examples = FewShotClassifier(learner(pictures=True)), pictures(tmp_path)
    features = classifier.features(examples)
    assert features.shape == (5, 64)
    for same in features[1:4]:
        assert torch.equal(features[0], same)
    assert not torch.equal(features[0], features[4])
    assert torch.equal(classifier.features(np.stack(examples[3:])), features[3:])
    torch.testing.assert_close(classifier.features(examples[0]), features[:1])
    grey = classifier.features([examples[2].convert("L"), np.asarray(examples[2].convert("L"))])
    assert torch.equal(grey[0], grey[1])
    support = {"x": examples[:2], "y": examples[4:], "z": features[:1]}
    assert len(classifier.predict(support, examples)) == 5


@pytest.mark.parametrize(
    ("support", "queries", "message"),
    [
        ({}, [], "support should map the names of 2 classes or more"),
        ([1, 2], [], "support should map"),
        ({"a": [], "b": [], "c": []}, np.ones((1, 7)), r"support\['a'\] is empty"),
        ({"a": None, "b": [], "c": []}, np.ones((1, 7)), r"support\['a'\] should be a list .* is None"),
        ({c: np.ones((1, 7)) for c in "abc"}, [], "queries is empty"),
        ({c: np.ones((1, 7)) for c in "abc"}, np.ones((1, 8)), "queries has features of 8 numbers, .* have 7"),
        ({c: np.ones((1, 7)) for c in "abc"}, np.full((1, 7), np.nan), "queries: row 0 holds numbers that are NaN"),
        ({c: np.ones((1, 7)) for c in "abc"}, np.ones((1, 7), dtype=int), r"queries is an array of int64 of shape"),
        ({c: np.ones((1, 7)) for c in "abc"}, [3], r"queries\[0\] is of type int"),
        ({c: np.ones((1, 7)) for c in "abc"}, ["a.png", np.ones(7)], "queries mixes pictures and features"),
        ({c: np.ones((1, 7)) for c in "abc"}, ["a.png"], "trained on features, and cannot tell"),
        ({c: np.ones((1, 7)) for c in "abc"}, [np.ones(7), np.ones(6)], "queries has features of 6 and of 7"),
    ],
)
def test_what_cannot_be_classified_is_one_clear_line(support, queries, message):
    with pytest.raises(ValueError, match=message) as found:
        FewShotClassifier(learner()).predict(support, queries)
    assert "\n" not in str(found.value)
    assert "--" not in str(found.value)


def test_a_missing_picture_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.jpg cannot be read"):
        FewShotClassifier(learner(pictures=True)).features([tmp_path / "nowhere.jpg"])


@pytest.mark.parametrize("guide", list(LEARNERS))
def test_a_saved_learner_is_the_same(tmp_path, rows, guide):
    trained, path = learner(guide=guide), tmp_path / "learner.safetensors"
    save_learner(path, trained)
    back = load_learner(path)
    assert back.card == trained.card
    if LEARNERS[guide].oracle:
        with pytest.raises(InputError, match="looks at the queries' labels"):
            FewShotClassifier(back)
        return
    before, after = (FewShotClassifier(one).predict(*uneven(rows)) for one in (trained, back))
    assert np.array_equal(before.probabilities, after.probabilities)


def test_a_learner_of_pictures_holds_its_network(tmp_path):
    classifier, examples = FewShotClassifier(learner(pictures=True)), pictures(tmp_path)
    classifier.save(tmp_path / "l.safetensors")
    state = torch.get_rng_state()
    back = FewShotClassifier.load(tmp_path / "l.safetensors")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(back.features(examples), classifier.features(examples))


def damaged(path, change) -> None:
    tensors, meta = read_tensors(path)
    write_tensors(path, *change({name: t.clone() for name, t in tensors.items()}, meta))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, m: (t, {}), "is no learner"),
        (lambda t, m: (t, m | {"learner": 99}), "is a learner of format 99, and this version reads 2"),
        (lambda t, m: (t, m | {"card": 3}), "the content is 3, not an object"),
        (lambda t, m: (t, m | {"card": m["card"] | {"draws": "5"}}), "draws is '5', not a whole number"),
        (
            lambda t, m: (t, m | {"card": m["card"] | {"colour": 1}}),
            "colour is unknown to this version",
        ),
        (lambda t, m: (t, m | {"card": {**m["card"], "features": 8}}), "base classes' weights should be"),
        (lambda t, m: (t, m | {"card": {**m["card"], "features": 0}}), "features should be 1 or more but is 0"),
        (lambda t, m: (t, m | {"card": {n: v for n, v in m["card"].items() if n != "draws"}}), "has no draws"),
        (lambda t, m: (t, m | {"card": {**m["card"], "measured": [{"what": "x"}]}}), "has no measured.0.accuracy"),
        (
            lambda t, m: (
                {n: v for n, v in t.items() if n != "guide.xi.0.weight"} and dict(list(t.items())[1:]),
                m,
            ),
            ";",
        ),
        (lambda t, m: ({n: v + float("nan") for n, v in t.items()}, m), "holds numbers that are NaN or infinite"),
        (lambda t, m: (t | {"other.x": torch.ones(1)}, m), "other.x belongs to no part of this learner"),
        (
            lambda t, m: (t, {**m, "card": {**m["card"], "learner": {**m["card"]["learner"], "guide": "nobody"}}}),
            "cannot be built by this version .*nobody",
        ),
        (
            lambda t, m: (t, {**m, "card": {**m["card"], "learner": {**m["card"]["learner"], "prior": "flow"}}}),
            "the tensors do not fit the settings",
        ),
    ],
)
def test_a_file_that_is_no_learner_of_this_version_is_one_clear_line(tmp_path, change, message):
    path = tmp_path / "learner.safetensors"
    save_learner(path, learner())
    damaged(path, change)
    with pytest.raises(InputError, match=message) as found:
        FewShotClassifier.load(path)
    assert str(path) in str(found.value)
    assert "\n" not in str(found.value)


def test_a_truncated_file_is_one_clear_line(tmp_path):
    path = tmp_path / "learner.safetensors"
    save_learner(path, learner())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="is not a readable safetensors file"):
        FewShotClassifier.load(path)
    with pytest.raises(InputError, match=r"no learner .*nowhere: give a file"):
        FewShotClassifier.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no learner 'nobody' comes with this version"):
        FewShotClassifier.pretrained("nobody")


def test_predictions_leave_the_process_as_it_was(rows, tmp_path):
    save_learner(tmp_path / "l.safetensors", learner())
    pyro.get_param_store().clear()
    before = (torch.get_rng_state(), torch.get_num_threads(), list(warnings.filters), torch.get_default_dtype())
    classifier = FewShotClassifier.load(tmp_path / "l.safetensors")
    first = classifier.predict(*uneven(rows))
    after = (torch.get_rng_state(), torch.get_num_threads(), list(warnings.filters), torch.get_default_dtype())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert not list(pyro.get_param_store().keys())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            again = FewShotClassifier.load(tmp_path / "l.safetensors").predict(*uneven(rows))
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(first.probabilities, again.probabilities)


def test_two_learners_in_threads_do_not_disturb_each_other(rows, tmp_path):
    one = FewShotClassifier(learner(pictures=True))
    other = FewShotClassifier(learner(pictures=True, guide="maml"))
    examples = pictures(tmp_path)
    support = {"x": examples[:2], "y": examples[4:], "z": examples[3:4]}
    alone = [classifier.predict(support, examples).probabilities for classifier in (one, other)]
    filters, found = list(warnings.filters), []

    def work(place: int) -> None:
        for _ in range(3):
            found.append((place, (one, other)[place].predict(support, examples).probabilities))

    threads = [threading.Thread(target=work, args=(n % 2,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert all(np.array_equal(alone[place], probabilities) for place, probabilities in found)
    assert list(warnings.filters) == filters


def test_importing_it_touches_nothing(tmp_path):
    """In a folder whose own models.py, inference.py and experiments.py have nothing to do with ours."""
    for name in ("models", "inference", "experiments"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('the wrong module')\n")
    code = (
        "import signal, sys, warnings, torch, pyro\n"
        "state, threads, filters = torch.get_rng_state(), torch.get_num_threads(), list(warnings.filters)\n"
        "signals = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "import pyro_sib\nfrom pyro_sib import FewShotClassifier, InputError, Prediction\n"
        "assert torch.equal(state, torch.get_rng_state()) and threads == torch.get_num_threads()\n"
        "assert filters == list(warnings.filters) and not list(pyro.get_param_store().keys())\n"
        "assert signals == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]\n"
        "assert {'FewShotClassifier', 'Prediction'} <= set(dir(pyro_sib))\n"
        "others = {'models', 'inference', 'experiments', 'matplotlib', 'tyro', 'arviz', 'sklearn'}\n"
        "assert not others & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
