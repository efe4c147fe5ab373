"""Small programs and tasks that the tests share."""

from dataclasses import dataclass

import torch

from pyro_sib.cosine import unit
from pyro_sib.data import Split
from pyro_sib.inference import GuideSettings, SIBGuide, TaskForm
from pyro_sib.models import CosineCategorical, EmpiricalBayes, Prior, make_prior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.tasks.episodes import EpisodeSampler, EpisodeShape, task_key
from pyro_sib.tasks.source import TaskSource

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
    weights = ObjectiveWeights(kl, base_to_psi, tasks_in_all)
    p = make_prior(prior, FEATURES, base_weights).to(dtype)
    likelihood = CosineCategorical(5.0).to(dtype)
    settings = GuideSettings(**{"steps": 2, "initial_scale": 0.1, **sib})  # type: ignore[arg-type]
    guide = SIBGuide(settings, TaskForm(FEATURES, ways, joint, BASE_CLASSES), p, likelihood, weights).to(dtype)
    shape = EpisodeShape(ways, 2, 4, 6 if joint else 0)
    sampler = EpisodeSampler(base, base, shape, task_key("tests", 0, "train"))
    source = TaskSource(sampler, base.x, base.x if joint else None)
    return World(p, likelihood, guide, EmpiricalBayes(p, likelihood, weights), weights, source)
