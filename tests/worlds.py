"""Small programs and tasks that the tests share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from pyro_sib.cosine import unit
from pyro_sib.data import Split
from pyro_sib.inference import LEARNERS, Baseline, Guide, GuideSettings, SIBGuide, TaskForm
from pyro_sib.models import CosineCategorical, EmpiricalBayes, Prior, make_prior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.episodes import EpisodeSampler, task_key
from pyro_sib.tasks.shape import EpisodeShape
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Episode, Evidence

FEATURES, BASE_CLASSES = 7, 9


def psi_attached(function, *arguments):
    """Psi in the steps as autograd alone would have it."""
    return function(*arguments, detach=False)


def clusters(classes: int, rows: int, seed: int, features: int = FEATURES, spread: float = 0.6) -> Split:
    """Gaussian clusters, `rows` in each class, float32."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, features, generator=generator)
    y = torch.arange(classes).repeat_interleave(rows)
    x = centres[y] + spread * torch.randn(len(y), features, generator=generator)
    return Split(x, y, tuple(f"{seed}-{c}" for c in range(classes)))


@dataclass
class World:
    """A program with a source of training tasks (N base classes play novel)."""

    prior: Prior
    likelihood: CosineCategorical
    guide: SIBGuide
    model: EmpiricalBayes
    weights: ObjectiveWeights
    kl: float
    """Weight of a nat of a task's KL."""
    source: TaskSource

    def modules(self) -> dict[str, torch.nn.Module]:
        return {"prior": self.prior, "likelihood": self.likelihood, "guide": self.guide}


def make_world(
    prior: str = "diagonal",
    joint: bool = False,
    kl: float = 0.01,
    dtype: torch.dtype = torch.float32,
    ways: int = 3,
    base_to_psi: bool = False,
    tasks_in_all: int = 50,
    **sib: object,
) -> World:
    """A world of 7 features, 9 base classes, 3-way 2-shot tasks with 4 queries a class."""
    torch.manual_seed(1)
    base = clusters(BASE_CLASSES, 20, seed=3)
    base = base.with_x(base.x.to(dtype))
    base_weights = unit(torch.randn(BASE_CLASSES, FEATURES, dtype=dtype))
    weights = ObjectiveWeights(kl * ways * FEATURES, base_to_psi, tasks_in_all)
    p = make_prior(prior, FEATURES, base_weights).to(dtype)
    likelihood = CosineCategorical(5.0).to(dtype)
    settings = GuideSettings(**{"steps": 2, "initial_scale": 0.1, **sib})  # type: ignore[arg-type]
    guide = SIBGuide(settings, TaskForm(FEATURES, ways, joint, BASE_CLASSES), p, likelihood, weights).to(dtype)
    shape = EpisodeShape(ways, 2, 4, 6 if joint else 0)
    sampler = EpisodeSampler(base, base, shape, task_key("tests", 0, "train"))
    source = TaskSource(sampler, base.x, base.x if joint else None)
    return World(p, likelihood, guide, EmpiricalBayes(p, likelihood, weights), weights, kl, source)


def make_learner(
    name: str,
    features: int = FEATURES,
    ways: int = 3,
    joint: bool = False,
    prior: str = "diagonal",
    **inside: object,
) -> tuple[Callable[..., object], Guide | Baseline]:
    """A model with a named guide or baseline, of any sizes, in float64 and off its first parameters."""
    torch.manual_seed(4)
    base_weights = unit(torch.randn(BASE_CLASSES, features))
    form, weights = TaskForm(features, ways, joint, BASE_CLASSES), ObjectiveWeights(0.01, tasks_in_all=50)
    kind = LEARNERS[name]
    if issubclass(kind, Baseline):
        learner: Guide | Baseline = kind(form, base_weights, weights)
        model: Callable[..., object] = learner.model
        parts: list[torch.nn.Module] = [learner]
    else:
        p, likelihood = make_prior(prior, features, base_weights), CosineCategorical(5.0)
        settings = GuideSettings(**{"steps": 2, "initial_scale": 0.1, "fit_steps": 5, **inside})  # type: ignore[arg-type]
        learner = kind(settings, form, p, likelihood, weights)
        model, parts = EmpiricalBayes(p, likelihood, weights), [learner, p, likelihood]
    for part in parts:
        part.double()
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model, learner.eval()


def uneven_tasks(
    counts: Sequence[int], queries: int = 4, features: int = FEATURES, tasks: int = 2, joint: bool = False
) -> Episode:
    """Tasks whose classes have so many labeled examples, moved on by a class from task to task, in float64."""
    ways, generator = len(counts), torch.Generator().manual_seed(len(counts))
    each = [[counts[(n + t) % ways] for n in range(ways)] for t in range(tasks)]
    support_y = torch.stack([torch.arange(ways).repeat_interleave(torch.tensor(c)) for c in each])
    x = torch.randn(tasks, sum(counts) + queries, features, generator=generator, dtype=torch.float64)
    ids = torch.arange(BASE_CLASSES).expand(tasks, -1)
    support_x, query_x = x[:, queries:], x[:, :queries]
    evidence = Evidence(support_x, support_y, query_x, ways, ids, torch.arange(tasks), joint)
    return Episode(evidence, torch.arange(queries).remainder(ways).expand(tasks, -1) + BASE_CLASSES * joint)
