"""MAML as a guide: K steps on the labeled examples (eq. 7), which never look at the queries."""

from torch import Tensor

from pyro_sib.inference.steps.unrolled import Points, UnrolledGuide
from pyro_sib.types import Evidence


class MAMLGuide(UnrolledGuide):
    """K true-gradient steps on the labeled examples, through which phi learns (eq. 7, Finn et al. 2017).

    Inductive: q(w_t | d_t^l). The paper's eq. (7) has no KL inside the steps.
    """

    steps_on_queries = False
    kl_in_steps = False
    first_order = False
    """Take the gradient inside the steps as a constant, Finn et al.'s first-order approximation."""

    def gradient(self, w: Tensor, points: Points, evidence: Evidence, k: int) -> Tensor:
        """A constant, if first-order."""
        return super().gradient(w.detach() if self.first_order else w, points, evidence, k)

    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence) -> Tensor:
        """Gradient of -log p(d_t^l | w) in the outputs, (..., T, M, N)."""
        return self.likelihood.output_gradient(outputs, evidence.support_y, base)


class FirstOrderMAMLGuide(MAMLGuide):
    """MAML with the gradient inside the steps a constant."""

    first_order = True
