"""Predictions draw by draw, for what averages cannot tell, and q narrowed or widened."""

from math import log

import torch
from torch import Tensor

from pyro_sib.inference.guide import Guide
from pyro_sib.inference.prediction import predictions
from pyro_sib.types import Evidence, GaussianParameters


@torch.no_grad()
def draw_probabilities(
    guide: Guide, evidence: Evidence, draws: int, widen: float = 1.0, theta: GaussianParameters | None = None
) -> Tensor:
    """Probabilities under each draw of w ~ q, (draws, T, Q, [B' +] N); at q's mean with `draws` = 0, (1, ...).

    Args:
        guide: in evaluation mode.
        evidence: T tasks; with draws, they carry task_ids.
        draws: how many; the first are the same whatever their number.
        widen: factor on q's standard deviation.
        theta: q's parameters, where the caller has them.
    """
    theta = guide.iterates(evidence)[-1] if theta is None else theta
    wider = GaussianParameters(theta.loc, theta.log_scale + log(widen))
    return torch.stack(list(predictions(guide.prior, guide.likelihood, evidence, draws, wider)))
