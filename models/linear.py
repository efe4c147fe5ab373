"""What likelihoods of linear outputs share: outputs scale * w . x, and their derivatives."""

from abc import abstractmethod
from collections.abc import Callable

from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_sib.types import Evidence


class LinearOutputs(nn.Module):
    """Outputs scale * w . x of features as they are; a subclass says what they are outputs of."""

    output_scale = 1.0
    """Of w . x, a constant."""

    def logits(self, w: Tensor, query_x: Tensor, w_base: Tensor | None = None) -> Tensor:
        """(..., T, N, D), (T, Q, D) -> (..., T, Q, N).

        Raises:
            ValueError: base weights, which have no place here.
        """
        if w_base is not None:
            raise ValueError("linear outputs have no base classes; pass tasks without joint base classes")
        outputs = query_x @ w.transpose(-1, -2)
        return outputs if self.output_scale == 1 else self.output_scale * outputs

    @abstractmethod
    def distribution(self, outputs: Tensor) -> TorchDistribution:
        """p(y | outputs), batch (..., T, Q)."""

    def points(self, x: Tensor) -> Tensor:
        """The features as they are."""
        return x

    def query_points(self, evidence: Evidence) -> Tensor:
        """The queries' features, as constants."""
        return evidence.query_x.detach()

    def step_outputs(self, w: Tensor, points: Tensor) -> Tensor:
        """The outputs, (..., T, P, N)."""
        return self.logits(w, points)

    def vjp(self, w: Tensor, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """The outputs, and gradients in them -> in w: the sum over points of scale gradient . x, (..., T, N, D)."""
        return self.step_outputs(w, points), lambda g: self.output_scale * g.transpose(-1, -2) @ points
