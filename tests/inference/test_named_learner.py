"""Which shipped learner is meant by some words of a name and what else is asked of it."""

import pytest
import torch

from pyro_sib import FewShotClassifier, InputError
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.learner_file import TrainedLearner, save_learner
from pyro_sib.inference.program import build_program
from pyro_sib.inference.settings import LearnerSettings
from pyro_sib.inference.settings.card import LearnerCard, TaskSettings
from pyro_sib.inference.settings.shipped_learners import named_learner
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.objective import ObjectiveWeights

KINDS = {
    "net-a-1shot": (1, False, "context", 3),
    "net-a-1shot-mlp": (1, False, "mlp", 3),
    "net-a-5shot": (5, False, "context", 3),
    "net-a-5shot-lwof": (5, True, "context", 3),
    "net-a-5shot-mlp-K1": (5, False, "mlp", 1),
    "net-b-1shot": (1, False, "context", 3),
}
"""Name -> shots, whether LwoF, xi, K."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Learners of eight features, untrained."""
    found = tmp_path_factory.mktemp("learners")
    for name, (shots, joint, xi, steps) in KINDS.items():
        inside = GuideSettings(steps=steps, synthetic_gradient=xi)
        settings = LearnerSettings("sib", "diagonal", 3, joint, inside, 10.0, ObjectiveWeights(), 0)
        base = torch.eye(4, 8) if joint else None
        program = build_program(settings, 8, base, torch.device("cpu"))
        card = LearnerCard(
            name=name,
            learner=settings,
            features=8,
            pictures=None,
            propagation=0.0,
            base_classes=("p", "q", "r", "s") if joint else (),
            tasks=TaskSettings(3, shots, 4),
            training=TrainSettings(2, 1),
            draws=0,
            data={},
            measured=(),
            made={},
        )
        save_learner(found / f"{name}.safetensors", TrainedLearner(program, None, base, card))
    return found


@pytest.fixture(autouse=True)
def shipped(folder, monkeypatch):
    for module in ("inference.settings.card", "inference.classifier", "inference.learner_file"):
        monkeypatch.setattr(f"pyro_sib.{module}.SHIPPED", dict.fromkeys(KINDS, ""))
    monkeypatch.setattr("pyro_sib.inference.settings.card._FOLDER", folder)
    monkeypatch.setattr("pyro_sib.inference.learner_file.check_digest", lambda *args: None)


@pytest.mark.parametrize(
    ("name", "asked", "meant"),
    [
        ("net-a", {"shots": 1}, "net-a-1shot"),
        ("net-a", {"shots": 5}, "net-a-5shot"),
        ("net-a", {}, "net-a-1shot"),
        ("net-a", {"shots": 5, "setting": "lwof"}, "net-a-5shot-lwof"),
        ("net-a-lwof", {"shots": 5}, "net-a-5shot-lwof"),
        ("net-a", {"shots": 1, "synthetic_gradient": "mlp"}, "net-a-1shot-mlp"),
        ("net-a-mlp", {"shots": 1}, "net-a-1shot-mlp"),
        ("net-a", {"steps": 1}, "net-a-5shot-mlp-K1"),
        ("net-b", {"shots": 1, "steps": 3}, "net-b-1shot"),
        ("net-a-5shot", {"shots": 1}, "net-a-5shot"),
    ],
)
def test_a_learner_is_chosen_by_words_of_its_name_and_by_options(name, asked, meant):
    assert named_learner(name, **asked) == meant
    assert FewShotClassifier.pretrained(name, **asked).card.name == meant


def test_a_file_is_a_file_whatever_else_is_asked(folder):
    path = str(folder / "net-b-1shot.safetensors")
    assert named_learner(path, shots=7) == path


def test_what_there_is_not_is_answered_with_what_there_is():
    with pytest.raises(InputError) as caught:
        named_learner("net-a", shots=5, setting="lwof", synthetic_gradient="mlp")
    said = str(caught.value)
    assert said.startswith(
        "no learner net-a for shots 5, setting lwof, synthetic_gradient mlp; there are net-a-1shot"
    )
    assert "net-a-5shot-lwof (lwof, 5 shots, xi context, K = 3)" in said
    assert "net-b" not in said
    with pytest.raises(InputError, match="no learner net-c: give a file, or one of net-a-1shot, "):
        named_learner("net-c", shots=1)


def test_a_run_takes_it_by_its_options_and_says_its_full_name():
    job = RunSettings(learner="net-a", shots=5, synthetic_gradient="context", features="x.npz").resolved()
    assert (job.learner, job.synthetic_gradient, job.setting) == ("net-a-5shot", "context", "standard")
    with pytest.raises(InputError, match="--synthetic-gradient mlp with --learner net-a-5shot, which has context"):
        RunSettings(learner="net-a-5shot", synthetic_gradient="mlp", features="x.npz").resolved()
    assert RunSettings(setting="standard").resolved().synthetic_gradient == "mlp"
