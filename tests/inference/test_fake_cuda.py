"""Model, guide and prediction on a GPU's fake tensors: what would wait for the device or meet the CPU fails."""

from collections.abc import Callable
from dataclasses import replace

import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from pyro_sib.inference import GUIDES, Guide, GuideSettings, TaskForm, prediction
from pyro_sib.models import PRIORS, CosineCategorical, EmpiricalBayes, make_prior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.episodes import EpisodeIndex, gather
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.types import Episode
from tests.worlds import make_world

FEATURES, BASE, WAYS, TASKS = 5, 6, 3, 2
GUIDE_SETTINGS = {
    "sib mlp": ("sib", {"synthetic_gradient": "mlp"}),
    "sib context": ("sib", {"synthetic_gradient": "context"}),
    "init-only": ("init-only", {}),
    "maml": ("maml", {}),
}
PAIRS = [(p, g) for p in PRIORS for g in GUIDE_SETTINGS if g == "sib context" or p in ("diagonal", "mixture")]
"""Every prior in the steps that ask the most of it, and every guide with two."""


@pytest.fixture(scope="module")
def gpu():
    """A mode in which CUDA tensors have shapes and devices, and no values."""
    return FakeTensorMode()


@pytest.fixture(autouse=True)
def _without_values(monkeypatch):
    """No validation, which looks at values, and shapes alone from autograd, whose threads need a device."""
    pyro.enable_validation(False)
    monkeypatch.setattr(torch.autograd, "grad", lambda outputs, inputs, **kwargs: (torch.empty_like(inputs),))


def built(prior: str, guide: str, joint: bool, kind: type = CosineCategorical) -> tuple[EmpiricalBayes, Guide]:
    name, options = GUIDE_SETTINGS[guide]
    weights = ObjectiveWeights(0.01, False, 50)
    p, likelihood = make_prior(prior, FEATURES, torch.randn(BASE, FEATURES)), kind(5.0)
    settings = GuideSettings(steps=3, initial_scale=0.1, **options)
    inference = GUIDES[name](settings, TaskForm(FEATURES, WAYS, joint, BASE), p, likelihood, weights)
    return EmpiricalBayes(p, likelihood, weights), inference


def an_episode(joint: bool, device: str = "cuda") -> Episode:
    """As a sampler leaves it: features on the GPU, indices on the CPU until they are gathered."""
    shape = EpisodeShape(WAYS, 1, 2, 3 if joint else 0)
    index = EpisodeIndex(
        support=torch.zeros(TASKS, WAYS, dtype=torch.int64),
        query=torch.zeros(TASKS, WAYS * 2, dtype=torch.int64),
        base_query=torch.zeros(TASKS, shape.base_queries, dtype=torch.int64),
        query_y=torch.zeros(TASKS, WAYS * 2 + shape.base_queries, dtype=torch.int64),
        base_ids=torch.arange(BASE).expand(TASKS, -1),
        task_ids=torch.arange(TASKS),
    )
    return gather(index, *torch.randn(2, 10, FEATURES, device=device), shape)


def forward(model: Callable[[Episode], Tensor], guide: Guide, episode: Episode) -> list[Tensor]:
    """All log probabilities that the bound is made of, and predictions."""
    drawn = poutine.trace(guide).get_trace(episode)
    replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(episode)
    for trace in (drawn, replayed):
        trace.compute_log_prob()
    sums = [site["log_prob_sum"] for t in (drawn, replayed) for site in t.nodes.values() if "log_prob_sum" in site]
    evidence = guide.sees(episode)
    return [*sums, *guide.probabilities(evidence, 1)]


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("prior", "guide"), PAIRS)
def test_nothing_waits_for_the_gpu_or_meets_the_cpu(gpu, prior, guide, joint):
    with gpu, torch.no_grad():
        with torch.device("cuda"):
            model, inference = built(prior, guide, joint)
        found = forward(model, inference, an_episode(joint))
    assert {value.device.type for value in found} == {"cuda"}


class Waiting(CosineCategorical):
    """Looks at a value, in predictions, which no trace of Pyro's wraps."""

    def step_outputs(self, w, points):
        assert super().step_outputs(w, points).sum().item() is not None
        return super().step_outputs(w, points)


class Meeting(CosineCategorical):
    """Adds numbers on the CPU."""

    def step_outputs(self, w, points):
        return super().step_outputs(w, points) + torch.zeros(WAYS, device="cpu")


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        (Waiting, DataDependentOutputException, "_local_scalar_dense"),
        (Meeting, RuntimeError, "device"),
    ],
)
def test_what_waits_or_meets_the_cpu_is_caught(gpu, kind, error, words):
    with gpu, torch.no_grad():
        with torch.device("cuda"):
            _, inference = built("diagonal", "init-only", False, kind)
        episode = an_episode(False)
        with pytest.raises(error, match=words):
            inference.probabilities(inference.sees(episode), 1)


@pytest.mark.parametrize("draws", [0, 2])
def test_base_classes_known_to_be_the_same_by_form_or_not_give_the_same_predictions(monkeypatch, draws):
    """By the form of a sampler's tasks, by values, or, on a GPU, not at all."""
    made = make_world(joint=True)
    episode = made.source.span(0, 2)
    count = torch.arange(episode.evidence.base_ids.shape[1])
    found = []
    for ids, at_hand in ((count.expand(2, -1), False), (count.repeat(2, 1), True), (count.repeat(2, 1), False)):
        evidence = replace(episode.evidence, base_ids=ids)
        monkeypatch.setattr(prediction, "readable", lambda tensor, at_hand=at_hand: at_hand)
        found.append(made.guide.probabilities(evidence, draws)[0])
        base_loc = prediction.PosteriorWeights(made.prior, evidence, made.guide.iterates(evidence)[-1]).base_loc
        assert len(base_loc) == (2 if not (at_hand or ids.stride(0) == 0) else 1)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    torch.testing.assert_close(found[0], found[2])


def test_gathered_tasks_keep_that_all_have_the_same_base_classes():
    moved = an_episode(True, "cpu").evidence.base_ids
    assert moved.stride(0) == 0
    assert torch.equal(moved, torch.arange(BASE).expand(TASKS, -1))
