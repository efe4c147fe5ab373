"""The generative side: priors p_psi(w), the likelihoods, and the one Pyro model of eq. (1)-(4)."""

from torch import Tensor

from models.empirical_bayes import EmpiricalBayes
from models.exact_posterior import ExactPosterior
from models.gaussian import DiagonalPrior, IsotropicPrior
from models.likelihood import CosineCategorical
from models.linear_gaussian import LinearGaussian
from models.mixture import GaussianMixture, MixturePrior
from models.prior import Prior
from pyro_sib.errors import InputError

PRIORS: dict[str, type[IsotropicPrior] | type[DiagonalPrior] | type[MixturePrior]] = {
    "isotropic": IsotropicPrior,
    "diagonal": DiagonalPrior,
    "mixture": MixturePrior,
}
"""Constructor of each prior from D and the unit base class weights, (B, D) or None."""


def make_prior(name: str, features: int, base_weights: Tensor | None) -> Prior:
    """Build the named prior.

    Raises:
        InputError: unknown name, or a prior that needs base classes where there are none.
    """
    if name not in PRIORS:
        raise InputError(f"unknown prior {name!r}; choose one of {', '.join(PRIORS)}")
    return PRIORS[name](features, base_weights)


__all__ = [
    "PRIORS",
    "CosineCategorical",
    "DiagonalPrior",
    "EmpiricalBayes",
    "ExactPosterior",
    "GaussianMixture",
    "IsotropicPrior",
    "LinearGaussian",
    "MixturePrior",
    "Prior",
    "make_prior",
]
