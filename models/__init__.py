"""The generative side: priors p_psi(w), the likelihoods, and the one Pyro model of eq. (1)-(4)."""

from typing import TYPE_CHECKING, Protocol

from pyro_sib.on_demand import Registry, names_of

if TYPE_CHECKING:
    from torch import Tensor

    from pyro_sib.models.empirical_bayes import EmpiricalBayes
    from pyro_sib.models.exact_posterior import ExactPosterior
    from pyro_sib.models.fixed_normal import FixedNormalPrior
    from pyro_sib.models.flow import FlowPrior
    from pyro_sib.models.gaussian import DiagonalPrior, IsotropicPrior
    from pyro_sib.models.hierarchical import HierarchicalPrior
    from pyro_sib.models.likelihood import CosineCategorical
    from pyro_sib.models.linear_categorical import LinearCategorical
    from pyro_sib.models.linear_gaussian import LinearGaussian
    from pyro_sib.models.low_rank import LowRankPrior
    from pyro_sib.models.mixture import GaussianMixture, MixturePrior
    from pyro_sib.models.prior import Prior
else:
    __getattr__ = names_of(
        __name__,
        {
            "CosineCategorical": "pyro_sib.models.likelihood",
            "DiagonalPrior": "pyro_sib.models.gaussian",
            "EmpiricalBayes": "pyro_sib.models.empirical_bayes",
            "ExactPosterior": "pyro_sib.models.exact_posterior",
            "FixedNormalPrior": "pyro_sib.models.fixed_normal",
            "FlowPrior": "pyro_sib.models.flow",
            "GaussianMixture": "pyro_sib.models.mixture",
            "HierarchicalPrior": "pyro_sib.models.hierarchical",
            "IsotropicPrior": "pyro_sib.models.gaussian",
            "LinearCategorical": "pyro_sib.models.linear_categorical",
            "LinearGaussian": "pyro_sib.models.linear_gaussian",
            "LowRankPrior": "pyro_sib.models.low_rank",
            "MixturePrior": "pyro_sib.models.mixture",
            "Prior": "pyro_sib.models.prior",
        },
    )


class PriorConstructor(Protocol):
    """A prior's class, as the table of priors holds it."""

    @property
    def needs_base_classes(self) -> bool:
        """Whether tasks must carry base_ids."""

    def __call__(self, features: int, base_weights: "Tensor | None") -> "Prior":
        """From D and the unit base class weights, (B, D) or None."""


PRIORS: Registry[PriorConstructor] = Registry(
    {
        "isotropic": "gaussian:IsotropicPrior",
        "diagonal": "gaussian:DiagonalPrior",
        "mixture": "mixture:MixturePrior",
        "fixed-normal": "fixed_normal:FixedNormalPrior",
        "low-rank": "low_rank:LowRankPrior",
        "flow": "flow:FlowPrior",
        "hierarchical": "hierarchical:HierarchicalPrior",
    },
    below="pyro_sib.models",
)
"""Constructor of each prior from D and the unit base class weights, (B, D) or None."""


def make_prior(name: str, features: int, base_weights: "Tensor | None") -> "Prior":
    """Build the named prior.

    Raises:
        InputError: unknown name, or a prior that needs base classes where there are none.
    """
    PRIORS.require("prior", name)
    return PRIORS[name](features, base_weights)


__all__ = [
    "PRIORS",
    "CosineCategorical",
    "DiagonalPrior",
    "EmpiricalBayes",
    "ExactPosterior",
    "FixedNormalPrior",
    "FlowPrior",
    "GaussianMixture",
    "HierarchicalPrior",
    "IsotropicPrior",
    "LinearCategorical",
    "LinearGaussian",
    "LowRankPrior",
    "MixturePrior",
    "Prior",
    "make_prior",
]
