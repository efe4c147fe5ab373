"""What every prior p_psi(w) offers: a distribution for the model, a gradient for the guide."""

from abc import ABC, abstractmethod

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyro_sib.normal import Normal
from pyro_sib.types import GaussianParameters


class Prior(nn.Module, ABC):
    """A distribution over one class's weight vector, event (D,); its parameters are psi."""

    needs_base_classes = False
    """Whether tasks must carry base_ids."""
    quadratic = False
    """Whether `kl_gradient` gives the same at every theta: -log p_psi(w) is quadratic, its axes those of w."""

    @abstractmethod
    def distribution(self, base_ids: Tensor | None) -> dist.TorchDistribution:
        """p_psi(w), batch shape broadcastable to (T, N), event shape (D,)."""

    @abstractmethod
    def kl_gradient(
        self, theta: GaussianParameters, base_ids: Tensor | None, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The gradient of KL(N(loc, s^2) || p_psi), as a precision P and a shift m.

        d KL / d loc = P loc - m and d KL / d log s = P s^2 - 1 (the second term of eq. 9). Each is (T, N, D), or
        of a shape that broadcasts to it; so may theta.log_scale be.
        With `detach`, psi is a constant.
        """

    def with_psi_from_hyper_prior(self) -> "Prior":
        """In the model, outside all plates: the prior at a psi drawn from its hyper-prior; itself without one."""
        return self

    def with_psi_from_posterior(self) -> "Prior":
        """In the guide, outside all plates: the prior at a psi drawn from q(psi); itself without a hyper-prior."""
        return self

    def scales(self, base_ids: Tensor | None) -> Tensor:
        """Standard deviations of w, or of its components, (..., D), for reports."""
        return self.distribution(base_ids).variance.sqrt()

    @property
    @abstractmethod
    def base_classes(self) -> int:
        """B, the base classes whose weights the prior or its posterior knows."""

    def base_kl(self) -> float:
        """KL(q || p_psi) of all base classes' weights together, nats; 0 where they are points in both."""
        return 0.0

    @abstractmethod
    def base_locs(self, base_ids: Tensor) -> Tensor:
        """(T, B') -> (T, B', D): the means of `base_posterior`."""

    @abstractmethod
    def base_distribution(self, base_ids: Tensor) -> dist.TorchDistribution:
        """The prior p_psi of the base classes' own weights, batch (T, B'), event (D,); the model's."""

    @abstractmethod
    def base_posterior(self, base_ids: Tensor) -> dist.TorchDistribution:
        """The posterior q of the base classes' own weights, batch (T, B'), event (D,); the guide's."""


class PretrainedBasePrior(Prior):
    """Shared by the priors that say nothing of base classes: these keep the weights that f was trained with.

    Args:
        base_weights: (B, D) unit base class weights, or None without base classes.
    """

    base: Tensor | None

    def __init__(self, base_weights: Tensor | None):
        super().__init__()
        self.register_buffer("base", base_weights)

    def base_locs(self, base_ids: Tensor) -> Tensor:
        """The base classes' pretrained weights."""
        assert self.base is not None, "this prior was built without base classes"
        return self.base[base_ids]

    @property
    def base_classes(self) -> int:
        """B."""
        return 0 if self.base is None else len(self.base)

    def base_distribution(self, base_ids: Tensor) -> dist.TorchDistribution:
        """A point mass at the pretrained weights; masked, as model and guide have the same one."""
        return dist.Delta(self.base_locs(base_ids), event_dim=1).mask(False)

    def base_posterior(self, base_ids: Tensor) -> dist.TorchDistribution:
        """The same point mass."""
        return self.base_distribution(base_ids)


class GaussianPrior(PretrainedBasePrior):
    """Shared by the priors with one diagonal component, N(loc, scale^2)."""

    quadratic = True
    loc: Tensor
    log_scale: Tensor

    def distribution(self, base_ids: Tensor | None) -> dist.TorchDistribution:
        """N(loc, scale^2), the same for each class of each task."""
        scale = self.log_scale.exp().expand_as(self.loc)
        return Normal(self.loc, scale, validate_args=False).to_event(1)

    def kl_gradient(
        self, theta: GaussianParameters, base_ids: Tensor | None, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """P = 1 / scale^2 and m = P loc."""
        loc, log_scale = (p.detach() if detach else p for p in (self.loc, self.log_scale))
        precision = (-2 * log_scale).exp()
        return precision, precision * loc


def initial_moments(base_weights: Tensor | None, features: int) -> tuple[Tensor, Tensor]:
    """Mean and scale over classes, each (D,), of unit base weights; of the unit sphere without them."""
    if base_weights is None:
        return torch.zeros(features), torch.full((features,), features**-0.5)
    return base_weights.mean(0), base_weights.std(0).clamp_min(1e-3)
