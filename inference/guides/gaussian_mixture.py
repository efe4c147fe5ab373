"""Gaussian mixtures fitted to each task's whole pile, as a guide for tasks of any size in any domain."""

from collections.abc import Iterable, Iterator
from math import log
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_sib.inference.guide import Guide
from pyro_sib.inference.guides.mixture import FLOOR, Mixture, Numbers, Pile, em_round, first_mixture
from pyro_sib.inference.guides.mixture_evidence import Judge, numbers_of
from pyro_sib.tasks.coordinates import LOGIT_SCALE
from pyro_sib.tasks.proportions import EXACT
from pyro_sib.types import Evidence, GaussianParameters


class _Hypothesis(NamedTuple):
    """First values of what EM learns under a hypothesis, on the scales on which they are learned."""

    shrinkage: float = 1.2
    shrinkage_fall: float = 0.9
    concentration: float = 0.66


HYPOTHESES: dict[str, _Hypothesis] = {
    "learned": _Hypothesis(),
    "even": _Hypothesis(concentration=log(EXACT)),
    "uneven": _Hypothesis(concentration=log(0.5)),
    "round": _Hypothesis(shrinkage=5.0, shrinkage_fall=0.0),
    "round, even": _Hypothesis(shrinkage=5.0, shrinkage_fall=0.0, concentration=log(EXACT)),
}
"""That are followed side by side: the proportions' prior as learned, even queries, very uneven ones, classes that
are round, and these with even queries, as soft k-means has them."""
_FIRST = {"discount": -1.36, "trust": 1.6, "pull": -0.2, "temper": -0.76}
_FIRST_SHARPNESS, _FIRST_WIDTH = 1.45, -3.2


class GaussianMixtureGuide(Guide):
    """K rounds of EM for mixtures of Gaussians with one covariance, over labeled examples and queries together.

    The features are `TaskCoordinates`, (T, P, d + 1) with a one at the end; w holds a class's direction and bias.
    A round sets p = softmax of the queries' logits, weighs a query's part in class c by discount * p, the discount
    rising with what is known of the proportions, and then has (M-step), with n_c = sum of weights,

        mean_c = sum of weights . x / (n_c + pull)                      under the prior N(0, Sigma / pull)
        Sigma  = (1 - shrinkage) scatter within classes + shrinkage * its mean variance * I,
                 shrinkage falling with the labeled examples of a class
        pi     ~ sum of p + concentration                              under a Dirichlet prior
        w_c    = temper * (Sigma^-1 mean_c, -1/2 mean_c . Sigma^-1 mean_c) + (0, log pi_c).

    EM is the gradient of the queries' marginal likelihood with their labels integrated out, so a round is eq. (9)
    with xi = -p and a natural gradient's step. It runs under each of `HYPOTHESES`.
    The judge weighs them by what the task says of each; q is about their weighted mean, at a temperature that the
    judge also finds. Nothing here depends on D, on the number of classes, or on what the features' axes mean.
    """

    coordinates = True
    serves_joint = False

    def build(self) -> None:
        """Make the parts of its own."""
        super().build()
        first = {name: torch.full((len(HYPOTHESES),), value) for name, value in _FIRST.items()}
        for name in _Hypothesis._fields:
            first[name] = torch.tensor([getattr(one, name) for one in HYPOTHESES.values()])
        first |= {"sharpness": torch.tensor(_FIRST_SHARPNESS), "width": torch.tensor(_FIRST_WIDTH)}
        self.learned = nn.ParameterDict({name: nn.Parameter(value) for name, value in first.items()})
        self.judge = Judge(len(HYPOTHESES))

    def iterates(self, evidence: Evidence) -> list[GaussianParameters]:
        """theta^0, the labeled examples' class means, and theta after each round, each judged anew."""
        pile = _pile(evidence)
        return [self._theta(mixture, pile, evidence)[0] for mixture in self._rounds(pile, evidence)]

    def final(self, evidence: Evidence) -> GaussianParameters:
        """Theta after the last round alone."""
        return self._last(evidence)[0]

    def judged(self, evidence: Evidence) -> tuple[GaussianParameters, tuple[dict[str, float], ...]]:
        """Theta^K, and what each hypothesis weighs in it for each task."""
        theta, weights = self._last(evidence)
        return theta, tuple(dict(zip(HYPOTHESES, row, strict=True)) for row in weights.tolist())

    @torch.no_grad()
    def standardize(self, tasks: Iterable[Evidence]) -> None:
        """Take the units of the judge's inputs from training tasks."""
        self.judge.standardize(torch.cat([self.weighable(evidence)[0] for evidence in tasks]))

    def weighable(self, evidence: Evidence) -> tuple[Tensor, Tensor]:
        """What the judge reads, (T, inputs), and the queries' logits under each hypothesis, (T, H, Q, N)."""
        pile = _pile(evidence)
        *_, mixture = self._rounds(pile, evidence)
        return self._numbers(mixture, pile, evidence), pile.unlabeled(mixture.logits(pile.x))

    def _last(self, evidence: Evidence) -> tuple[GaussianParameters, Tensor]:
        pile = _pile(evidence)
        *_, mixture = self._rounds(pile, evidence)
        return self._theta(mixture, pile, evidence)

    def _rounds(self, pile: Pile, evidence: Evidence) -> Iterator[Mixture]:
        """The mixtures under `HYPOTHESES`, which start as one."""
        own = Numbers(*(self.learned[name] for name in Numbers._fields))
        known = self.learned["concentration"].exp()[:, None].expand(len(pile.start), -1, evidence.ways)
        if evidence.proportions is not None:
            known = evidence.proportions[:, None].expand_as(known).to(known.dtype)
        first = first_mixture(pile, own)
        if evidence.proportions is not None:
            first = first.with_shares(known[:, :1])
        mixture = Mixture(*(part.expand(-1, len(HYPOTHESES), *part.shape[2:]) for part in first))
        yield mixture
        for _ in range(self.settings.steps):
            mixture = em_round(mixture, pile, own, known)
            yield mixture

    def _theta(self, mixture: Mixture, pile: Pile, evidence: Evidence) -> tuple[GaussianParameters, Tensor]:
        """The weighted classifier at the task's temperature with the width of q, and the weights, (T, H)."""
        weights, scale = self.judge(self._numbers(mixture, pile, evidence))
        scale, each = scale[:, None, None] / LOGIT_SCALE, weights[..., None, None]
        loc = (each * torch.cat([mixture.directions, mixture.biases[..., None]], -1)).sum(1)
        spread = (each * mixture.spread().square()).sum(1).sqrt()
        typical = spread.sum(-1, keepdim=True) / max(spread.shape[-1], 1)
        spread = torch.cat([spread, typical.clamp_min(FLOOR)], -1)
        return GaussianParameters(scale * loc, (scale * spread).log() + self.learned["width"]), weights

    def _numbers(self, mixture: Mixture, pile: Pile, evidence: Evidence) -> Tensor:
        tempers = self.learned["temper"].exp()
        names = list(HYPOTHESES)
        places = names.index("learned"), names.index("even")
        return numbers_of(mixture, pile, tempers, self.learned["sharpness"], evidence.proportions, *places)


def _pile(evidence: Evidence) -> Pile:
    x = torch.cat([evidence.support_x, evidence.query_x], dim=1).detach()[..., :-1]
    return Pile.of(x, evidence.one_hot(x.dtype))
