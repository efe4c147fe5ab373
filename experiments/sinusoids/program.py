"""The composition root of few-shot regression: sinusoids, Fourier features, and the same model and guides."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_sib.counter_rng import make_key
from pyro_sib.data.worlds.sinusoid_shape import SinusoidShape
from pyro_sib.data.worlds.sinusoids import SinusoidSource, sinusoid_key
from pyro_sib.features.fourier import learn_gains, plain_features
from pyro_sib.inference import GUIDES, Guide, GuideSettings, TaskForm
from pyro_sib.models import PRIORS, EmpiricalBayes, ExactPosterior, LinearGaussian
from pyro_sib.models.prior import GaussianPrior
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.scores.regression import RegressionScores, score_regression
from pyro_sib.torch_state import gradients_on
from pyro_sib.types import Evidence, GaussianParameters

BASE_TASKS, BASE_POINTS = 200, 50
"""What stage 1 learns f from."""
EVIDENCE_STEPS, EVIDENCE_TASKS, EVIDENCE_RATE = 400, 8, 3e-2
"""Adam on the exact evidence."""


@dataclass(frozen=True)
class Ground:
    """What stage 2 stands on.

    Attributes:
        sources: of tasks, by purpose: train, select, evaluate.
        base_weights: (B, D) weights of stage 1's tasks, from whose moments the prior starts.
    """

    sources: dict[str, SinusoidSource]
    base_weights: Tensor

    @property
    def features(self) -> int:
        """D."""
        return self.base_weights.shape[1]


@dataclass(frozen=True)
class RegressionProgram:
    """A model and a guide with the modules that hold their parameters."""

    model: EmpiricalBayes
    guide: Guide
    prior: GaussianPrior
    likelihood: LinearGaussian

    def modules(self) -> dict[str, nn.Module]:
        """By the names under which Pyro knows their parameters."""
        return {"prior": self.prior, "likelihood": self.likelihood, "guide": self.guide}


def prepare(shape: SinusoidShape, frequencies: int, seed: int, gains: bool = True) -> Ground:
    """Stage 1 on base tasks of its own, then the sources; f and the held-out tasks are the same for every seed."""
    plain = plain_features(frequencies)
    base = SinusoidSource(SinusoidShape(BASE_POINTS, 1), sinusoid_key(0, "base"), plain)
    evidence = base.episodes(torch.arange(BASE_TASKS)).evidence
    features, base_weights = learn_gains(plain, evidence.support_x, evidence.support_y)
    if not gains:
        features, base_weights = plain, base_weights * features.gains
    seeds = {"train": seed, "select": 0, "evaluate": 0}
    sources = {name: SinusoidSource(shape, sinusoid_key(s, name), features) for name, s in seeds.items()}
    return Ground(sources, base_weights)


def build_generative(prior: str, ground: Ground) -> tuple[GaussianPrior, LinearGaussian]:
    """p_psi from the base tasks' moments, and the likelihood with sigma = 1."""
    p = PRIORS[prior](ground.features, ground.base_weights)
    assert isinstance(p, GaussianPrior)
    return p, LinearGaussian()


def build_program(
    guide: str, settings: GuideSettings, weights: ObjectiveWeights, prior: str, ground: Ground, seed: int
) -> RegressionProgram:
    """The program with fresh parameters drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make_key("weights", seed) & (2**63 - 1))
        p, likelihood = build_generative(prior, ground)
        form = TaskForm(ground.features, ways=1)
        q = GUIDES[guide](settings, form, p, likelihood, weights)
    return RegressionProgram(EmpiricalBayes(p, likelihood, weights), q, p, likelihood)


@gradients_on()
def fit_by_evidence(prior: str, ground: Ground) -> ExactPosterior:
    """Maximize eq. (3) itself, whose integral over w_t has a closed form here: empirical Bayes with no guide."""
    p, likelihood = build_generative(prior, ground)
    exact = ExactPosterior(p, likelihood)
    adam = torch.optim.Adam([*p.parameters(), *likelihood.parameters()], EVIDENCE_RATE)
    for iteration in range(EVIDENCE_STEPS):
        episode = ground.sources["train"].batch(iteration, EVIDENCE_TASKS)
        x = torch.cat([episode.evidence.support_x, episode.evidence.query_x], dim=1)
        y = torch.cat([episode.evidence.support_y, episode.query_y], dim=1)
        adam.zero_grad()
        (-exact.log_evidence(x, y).mean() / y.shape[1]).backward()
        adam.step()
    for parameter in (*p.parameters(), *likelihood.parameters()):
        parameter.requires_grad_(False)
    return exact


@torch.no_grad()
def evaluate_iterates(program: RegressionProgram, source: SinusoidSource, tasks: int) -> list[RegressionScores]:
    """Scores of theta^0 .. theta^K on tasks 0 .. tasks - 1."""
    episode = source.episodes(torch.arange(tasks))
    thetas = iterates(program, program.guide.sees(episode))
    x = episode.evidence.query_x
    return [score_regression(program.likelihood.predictive(theta, x), episode.query_y) for theta in thetas]


@torch.no_grad()
def evaluate_exact(exact: ExactPosterior, source: SinusoidSource, tasks: int) -> RegressionScores:
    """Scores of the exact posterior given the labeled points."""
    episode = source.episodes(torch.arange(tasks))
    evidence = episode.evidence
    posterior = exact.posterior(evidence.support_x, evidence.support_y)
    return score_regression(exact.predictive(posterior, evidence.query_x), episode.query_y)


def iterates(program: RegressionProgram, evidence: Evidence) -> list[GaussianParameters]:
    """theta^0 .. theta^K in evaluation mode."""
    was_training = program.guide.training
    program.guide.eval()
    thetas = program.guide.iterates(evidence)
    program.guide.train(was_training)
    return thetas


def selection(program: RegressionProgram, source: SinusoidSource, tasks: int) -> Callable[[], float]:
    """Minus the mean squared error on the selection tasks."""
    return lambda: -evaluate_iterates(program, source, tasks)[-1].metrics()["mse"].mean
