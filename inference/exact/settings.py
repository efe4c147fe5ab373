"""How long NUTS samples, and from which power of the likelihood."""

from dataclasses import dataclass

from pyro_sib.errors import InputError, argument
from pyro_sib.objective import ObjectiveWeights


@dataclass(frozen=True)
class ChainSettings:
    """How long to sample.

    Attributes:
        chains: how many, each adapted by itself; R-hat needs two.
        warmup: iterations in which the step size adapts; they are dropped.
        samples: draws kept of each chain.
        target_accept: mean acceptance that the step size aims for. 0.65 is the optimum of HMC in many
            dimensions (Beskos et al. 2013).
        seed: of starts, momenta and acceptances.
    """

    chains: int = 2
    warmup: int = 100
    samples: int = 250
    target_accept: float = 0.65
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("chains", 1), ("warmup", 20), ("samples", 20)):
            if getattr(self, name) < least:
                raise InputError(f"{argument(name)} {getattr(self, name)}: {least} or more is needed")
        if not 0 < self.target_accept < 1:
            raise InputError(
                f"{argument('target_accept')} {self.target_accept}: a number between 0 and 1 is needed"
            )


def objective_power(weights: ObjectiveWeights, observed: int, shape: tuple[int, int]) -> float:
    """N D / (P kl), the power of the likelihood that the objective implies for P observed labels.

    Args:
        weights: of the ELBO's two terms.
        observed: P.
        shape: (N, D) of a task's weights.

    Raises:
        InputError: no weight on the KL, where the best q is a point and no posterior is implied.
    """
    if weights.kl == 0:
        raise InputError(
            f"{argument('kl')} 0: such an objective implies no posterior; take a power of your own, 1 being literal"
        )
    return 1 / (observed * weights.per_nat(*shape))
