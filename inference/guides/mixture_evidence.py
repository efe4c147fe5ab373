"""What a task says of the hypotheses: numbers that mean the same in any domain, and the judge that reads them."""

from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import solve_triangular

from pyro_sib.inference.guides.mixture import FLOOR, Mixture, Pile, certainty

COMMON, OWN = 14, 11
"""Numbers of a task, and of a hypothesis in it."""
_SIZES = (0, 1, 2, 3, 5, 8, 13)
"""Of a task's numbers, those that tell its size, and what is known of it."""
_TESTED = 5
"""Of a task's numbers, the one that tells whether a labeled example can be left out; where none can, those of
`_ALONE` mean something else."""
_ALONE = (0, 2, 3, 13)
_LEFT_OUT = 3
"""Of a hypothesis's numbers, the last ones, of labeled examples left out."""
_PRIOR = 0.8
"""Standard deviation of the logarithm of a temperature, before the labeled examples say anything of it."""
_LIMIT = 3.0
"""Standard deviations from the training tasks' mean beyond which a number counts no more."""


class Judge(nn.Module):
    """Weights of the hypotheses, and the temperature of their mean, from the numbers of a task.

    Both are linear, so that they go wrong no further than the numbers do in a domain unlike those of training. The
    temperature reads sizes, what is known of the proportions, and how labeled examples fare that are left out,
    under the hypotheses as they are weighed: what else it could read means other things in other domains.

    Args:
        hypotheses: H.
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, hypotheses: int):
        super().__init__()
        inputs = COMMON + OWN * hypotheses
        self.weights = nn.Linear(inputs, hypotheses)
        self.temperature = nn.Linear(len(_SIZES) + len(_ALONE) + _LEFT_OUT, 1)
        for layer in (self.weights, self.temperature):
            nn.init.normal_(layer.weight, std=1e-3)
            nn.init.zeros_(layer.bias)
        self.register_buffer("centre", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))

    @torch.no_grad()
    def reset(self) -> None:
        """Let all hypotheses weigh alike, at a temperature of one."""
        for layer in (self.weights, self.temperature):
            layer.weight.zero_()
            layer.bias.zero_()

    def standardize(self, numbers: Tensor) -> None:
        """Let the mean and spread over (n, inputs) be the units of the inputs."""
        self.centre.copy_(numbers.mean(0))
        self.scale.copy_(numbers.std(0).clamp_min(0.05))

    def forward(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """(T, inputs) -> (T, H) weights that add up to one, and (T,) the factor of the logits."""
        z = ((numbers - self.centre) / self.scale).clamp(-_LIMIT, _LIMIT)
        weights = self.weights(z).softmax(-1)
        left_out = z[:, COMMON:].unflatten(-1, (-1, OWN))[..., -_LEFT_OUT:]
        left_out = (weights.detach()[..., None] * left_out).sum(1)
        alone = (1 - numbers[:, _TESTED : _TESTED + 1]) * z[:, _ALONE]
        return weights, self.temperature(torch.cat([z[:, _SIZES], alone, left_out], -1)).exp()[:, 0]


class Fit(NamedTuple):
    """The queries' logits and probabilities under each hypothesis, (T, H, Q, N)."""

    logits: Tensor
    p: Tensor

    @staticmethod
    def of(mixture: Mixture, pile: Pile) -> "Fit":
        """Of the hypotheses on the pile's queries."""
        logits = pile.unlabeled(mixture.logits(pile.x))
        return Fit(logits, logits.softmax(-1))


def numbers_of(
    mixture: Mixture,
    pile: Pile,
    tempers: Tensor,
    sharpness: Tensor,
    told: Tensor | None,
    plain: int,
    even: int,
) -> Tensor:
    """(T, COMMON + OWN * H).

    Args:
        mixture: after the last round.
        pile: of the task.
        tempers: (H,) of each hypothesis's log densities.
        sharpness: of the start.
        told: (T, N) concentrations of the proportions that the task was told, or None.
        plain: place of the hypothesis that the others are compared with.
        even: place of the one that holds the queries to be even.
    """
    fit = Fit.of(mixture, pile)
    own = _of_hypotheses(mixture, pile, fit, tempers, plain)
    return torch.cat([_of_task(pile, fit, sharpness, told, plain, even), own.flatten(1)], -1)


def _of_hypotheses(mixture: Mixture, pile: Pile, fit: Fit, tempers: Tensor, plain: int) -> Tensor:
    """(T, H, 11): how sure, how even, how much like the others, how likely the queries and the labels are."""
    queries, most = fit.p.shape[-2], log(max(fit.p.shape[-1], 2))
    share = _entropy(fit.p.mean(-2)) / most
    density = _log_density(mixture, pile, fit, tempers)
    columns = [
        _entropy(fit.p).mean(-1) / most,
        share,
        _agreement(fit.p, fit.p.mean(1, keepdim=True)),
        density - density.mean(1, keepdim=True),
        _labels_fit(mixture, pile),
        torch.asinh(queries * (density - density[:, plain : plain + 1])),
        torch.asinh(queries * most * (1 - share)),
        _agreement(fit.p, fit.p[:, plain : plain + 1]),
        *_left_out_of(mixture, pile, tempers),
    ]
    return torch.stack(columns, -1)


def _left_out_of(mixture: Mixture, pile: Pile, tempers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(T, H) each, from the labeled examples' logits when each is left out of the mixture.

    The mean log probability of their own classes; this less what the probabilities themselves expect, which is
    below zero where they are too sure; and the logarithm of the temperature that would suit them, shrunk to zero.
    """
    logits = _logits_left_out(mixture, pile, tempers)
    log_p = logits.log_softmax(-1)
    found = (log_p * pile.labels).sum(-1).mean(-1)
    expected = (log_p.exp() * log_p).sum(-1).mean(-1)
    grid = torch.linspace(-2.5, 2.5, 21, dtype=logits.dtype, device=logits.device)
    scaled = (logits[..., None] * grid.exp()).log_softmax(-2)
    score = (scaled * pile.labels[..., None]).sum((-3, -2)) - 0.5 * (grid / _PRIOR).square()
    return found.clamp_min(-4), (found - expected).clamp_min(-4), (score.softmax(-1) * grid).sum(-1)


def _logits_left_out(mixture: Mixture, pile: Pile, tempers: Tensor) -> Tensor:
    """(T, H, M, N): the own class's mean is further off, as the example has no part in it and the covariance."""
    x = pile.labeled(pile.x)
    logits = pile.labeled(mixture.logits(pile.x)) - mixture.log_shares[..., None, :]
    from_own = x - pile.labels @ mixture.means
    distance = solve_triangular(mixture.lower, from_own.mT, upper=False).square().sum(-2)
    mass = (pile.labels * mixture.mass[..., None, :]).sum(-1)
    grown = (mass / (mass - 1).clamp_min(0.3)).square()
    grown = grown / (1 - mixture.scatter_share[..., None] * distance).clamp_min(0.1)
    return logits - pile.labels * (0.5 * tempers[:, None] * distance * (grown - 1))[..., None]


def _log_density(mixture: Mixture, pile: Pile, fit: Fit, tempers: Tensor) -> Tensor:
    """(T, H) mean over queries of the log mixture density, up to a constant, at the hypothesis's temper."""
    whitened = solve_triangular(mixture.lower, pile.unlabeled(pile.x).mT, upper=False)
    distance = whitened.square().sum(-2)
    volume = 2 * mixture.lower.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_mass = fit.logits.logsumexp(-1)
    return (log_mass - 0.5 * tempers[:, None] * (distance + volume[..., None])).mean(-1)


def _labels_fit(mixture: Mixture, pile: Pile) -> Tensor:
    """(T, H) the labeled examples' mean log probability of their own classes, all classes being as likely."""
    logits = pile.labeled(mixture.logits(pile.x)) - mixture.log_shares[..., None, :]
    return (logits.log_softmax(-1) * pile.labels).sum((-2, -1)) / pile.labels.sum((-2, -1))


def _of_task(pile: Pile, fit: Fit, sharpness: Tensor, told: Tensor | None, plain: int, even: int) -> Tensor:
    """(T, 14): sizes, how labeled examples hold together, the pile's spectrum, how far EM went, what is told."""
    counts = pile.labels[:, 0].sum(1)
    tasks, classes = counts.shape
    queries = fit.p.shape[-2]
    right, tested = _left_out(pile, counts)
    energy = pile.x[:, 0].square().sum(1)
    total = energy.sum(-1).clamp_min(FLOOR)
    far = pile.unlabeled(pile.start)
    start = (-sharpness.exp() * far).softmax(-1)
    columns = [
        counts.new_full((tasks,), log(classes)),
        counts.log().mean(1),
        counts.log().std(1, correction=min(1, classes - 1)),
        counts.new_full((tasks,), log(queries / classes)),
        tested * (right - 0.5),
        tested,
        energy[:, :classes].sum(-1) / total,
        far.amin(-1).mean(1),
        counts.new_full((tasks,), float(told is not None)),
        _agreement(fit.p[:, even], fit.p[:, plain]),
        _agreement(start, fit.p.mean(1)),
        (total.square() / energy.square().sum(-1).clamp_min(FLOOR**2)).log(),
        fit.logits.std(-1, correction=min(1, classes - 1)).mean((1, 2)).clamp_min(FLOOR).log(),
        counts.new_zeros(tasks) if told is None else certainty(told.to(counts.dtype), queries),
    ]
    return torch.stack(columns, -1)


def _left_out(pile: Pile, counts: Tensor) -> tuple[Tensor, Tensor]:
    """(T,) the mean probability of a labeled example's class when it is left out of that class's mean.

    Classes with one example have none to leave out; the second answer is 1 where some class has more, else 0.
    """
    labels = pile.labels[:, 0]
    of_own = (labels * counts[:, None]).sum(-1)
    grown = torch.where(of_own > 1, of_own / (of_own - 1).clamp_min(1), torch.ones_like(of_own)).square()
    distance = pile.labeled(pile.start)
    distance = torch.where(labels > 0, distance * grown[..., None], distance)
    found = ((-10 * distance).softmax(-1) * labels).sum(-1)
    usable = (of_own > 1).to(found.dtype)
    tested = usable.sum(1)
    return (found * usable).sum(1) / tested.clamp_min(1), (tested > 0).to(found.dtype)


def _agreement(p: Tensor, other: Tensor) -> Tensor:
    """(..., Q, N) twice -> (...) the mean probability that draws of both are one class."""
    return (p * other).sum(-1).mean(-1)


def _entropy(p: Tensor) -> Tensor:
    """(..., N) -> (...) nats."""
    return -torch.special.xlogy(p, p.clamp_min(1e-9)).sum(-1)
