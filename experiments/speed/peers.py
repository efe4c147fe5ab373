"""The usual ways of doing a training step, written plainly; each gives the same numbers as the Pyro program."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_sib.experiments.speed.double_backward import one_of, plain_cosine_logits, unroll
from pyro_sib.inference.guides.sib import SIBGuide
from pyro_sib.inference.optimizer import JointAdam
from pyro_sib.inference.program import Program
from pyro_sib.models import CosineCategorical
from pyro_sib.models.gaussian import DiagonalPrior
from pyro_sib.types import Episode, GaussianParameters


class TrainingPeer(ABC):
    """A training step of the default standard program: Algorithm 1 with a diagonal prior, one draw of w.

    It works on a copy, so that all peers start from the same parameters.

    Args:
        program: with a `SIBGuide`, a diagonal prior and steps at q's mean.
        learning_rate: Adam's.
    """

    def __init__(self, program: Program, learning_rate: float = 1e-3):
        self.program = deepcopy(program)
        trained = {
            f"{module}.{name}": parameter
            for module, part in self.program.modules().items()
            for name, parameter in part.named_parameters()
            if parameter.requires_grad
        }
        self.parameters = trained
        self.optimizer = JointAdam(trained, learning_rate)
        for module in self.program.modules().values():
            module.train()

    @abstractmethod
    def backward(self, episode: Episode, noise: Tensor) -> Tensor:
        """Leave the gradients in the parameters; returns the loss."""

    def step(self, episode: Episode, noise: Tensor | None = None) -> float:
        """Forward, backward and update; returns the loss.

        Args:
            episode: T tasks.
            noise: (T, N, D) standard normals for the draw of w; fresh ones unless given.
        """
        if noise is None:
            evidence = episode.evidence
            shape = (evidence.tasks, evidence.ways, evidence.query_x.shape[-1])
            noise = torch.randn(shape, device=evidence.query_x.device, dtype=evidence.query_x.dtype)
        loss = self.backward(episode, noise)
        self.optimizer(())
        return float(loss)


class PyroFree(TrainingPeer):
    """The library's own tensor functions with no Pyro handler about them: what the handlers cost is the rest."""

    def backward(self, episode: Episode, noise: Tensor) -> Tensor:
        """One backward pass through the loss, to which the guide adds psi's route."""
        guide, prior, likelihood = _parts(self.program)
        evidence = episode.evidence
        theta, route = guide.fit(evidence, prior)
        w = theta.loc + theta.log_scale.exp() * noise
        nll = _nll(likelihood.logits(w, evidence.query_x), episode.query_y)
        divergence = _log_normal(w, *theta) - _log_normal(w, prior.loc, prior.log_scale)
        if route is not None:
            divergence = divergence + route.sum()
        loss = nll + guide.weights.of(evidence).per_nat / evidence.tasks * divergence
        loss.backward()
        return loss.detach()


class DoubleBackwardBatched(TrainingPeer):
    """The inner loop by `torch.autograd.grad(create_graph=True)`, all tasks at once.

    One graph carries phi and psi; since the likelihood must not reach psi through the steps (Algorithm 1, lines
    10 and 11), psi has a backward pass of its own.
    """

    def backward(self, episode: Episode, noise: Tensor) -> Tensor:
        """Two backward passes through one unrolled graph."""
        guide, prior, likelihood = _parts(self.program)
        evidence = episode.evidence
        weight = guide.weights.of(evidence).per_nat / evidence.tasks
        theta = unroll(self.program, evidence)
        w = theta.loc + theta.log_scale.exp() * noise
        logits = plain_cosine_logits(evidence.query_x, w, likelihood.scale)
        log_q, constant = _log_normal(w, *theta), (prior.loc.detach(), prior.log_scale.detach())
        value = _nll(logits, episode.query_y) + weight * (log_q - _log_normal(w, *constant))
        of_psi = _kl(theta, *constant) - _log_normal(w.detach(), prior.loc, prior.log_scale)
        psi = [prior.loc, prior.log_scale]
        rest = [p for p in self.parameters.values() if all(p is not q for q in psi)]
        _accumulate(rest, torch.autograd.grad(value, rest, retain_graph=True))
        _accumulate(psi, torch.autograd.grad(weight * of_psi, psi))
        return value.detach()


class DoubleBackwardLoop(DoubleBackwardBatched):
    """The same with one task at a time, the gradients added up."""

    def backward(self, episode: Episode, noise: Tensor) -> Tensor:
        """The mean over the tasks."""
        tasks = episode.evidence.tasks
        losses = [
            super(DoubleBackwardLoop, self).backward(one_task(episode, t), noise[t : t + 1]) for t in range(tasks)
        ]
        for parameter in self.parameters.values():
            assert parameter.grad is not None
            parameter.grad /= tasks
        return torch.stack(losses).mean()


def one_task(episode: Episode, task: int) -> Episode:
    """A batch of that task alone."""
    return Episode(one_of(episode.evidence, task), episode.query_y[task : task + 1])


def _parts(program: Program) -> tuple[SIBGuide, DiagonalPrior, CosineCategorical]:
    guide, prior, likelihood = program.guide, program.prior, program.likelihood
    assert isinstance(guide, SIBGuide)
    assert isinstance(prior, DiagonalPrior)
    assert isinstance(likelihood, CosineCategorical)
    return guide, prior, likelihood


def _nll(logits: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), y.flatten())


def _log_normal(w: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """Log N(w; loc, scale^2) summed over everything, less the constant that all such terms share."""
    return -(0.5 * ((w - loc) / log_scale.exp()).square() + log_scale).sum()


def _kl(theta: GaussianParameters, loc: Tensor, log_scale: Tensor) -> Tensor:
    """KL of q from N(loc, scale^2), summed over everything, less its constant."""
    variance = (2 * theta.log_scale).exp() + (theta.loc - loc).square()
    return (0.5 * variance * (-2 * log_scale).exp() - theta.log_scale + log_scale).sum()


def _accumulate(parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
