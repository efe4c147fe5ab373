"""The oracle of SIB: the same K steps with the queries' true gradient (eq. 8)."""

from torch import Tensor

from pyro_sib.inference.steps.unrolled import UnrolledGuide
from pyro_sib.types import Episode, Evidence, OracleEvidence


class ExactGradientGuide(UnrolledGuide):
    """K steps with the queries' true gradient (eq. 8): what synthesizing it costs."""

    oracle = True

    def sees(self, task: Episode | Evidence) -> Evidence:
        """The labels too."""
        return task.oracle() if isinstance(task, Episode) else task

    def output_gradient(self, outputs: Tensor, base: Tensor | None, evidence: Evidence) -> Tensor:
        """Gradient of -log p(y_t | x_t, w) in the outputs, (..., T, Q, N)."""
        return self.likelihood.output_gradient(outputs, novel_labels(evidence), base)


def novel_labels(evidence: Evidence) -> Tensor:
    """(T, Q) labels counted from the first novel class, negative for base classes.

    Raises:
        TypeError: the evidence holds no labels.
    """
    if not isinstance(evidence, OracleEvidence):
        raise TypeError("an oracle needs the queries' labels: pass the Episode, not its evidence")
    ids = evidence.joint_base_ids
    return evidence.query_y if ids is None else evidence.query_y - ids.shape[1]
