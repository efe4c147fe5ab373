"""Predictions from posterior.nc alone: no checkpoint, no data set."""

import torch
from torch import Tensor

from pyro_sib.cosine import cosine_logits
from pyro_sib.experiments.posterior.arviz_versions import Posterior
from pyro_sib.inference.prediction import base_draw


def stored(posterior: Posterior, name: str, task: int | None = None, group: str = "constant_data") -> Tensor:
    """An array of the file, of one task where it is named."""
    where = {} if task is None else {"task": task}
    return torch.from_numpy(posterior.values(group, name, **where).copy())


def weights_of(posterior: Posterior, task: int) -> tuple[Tensor, Tensor | None]:
    """A task's draws of w, (S, N, D), and in joint tasks of w_base, (S, B', D).

    The base classes' weights are not in the file draw by draw: they are many, and a function of the prior's
    components and the draw's number, by which they are drawn again here.
    """
    w = stored(posterior, "w", task, "posterior").flatten(0, 1)
    if "base_loc" not in posterior.groups["constant_data"]:
        return w, None
    loc, scale = (stored(posterior, name)[None] for name in ("base_loc", "base_scale"))
    return w, torch.cat([base_draw(draw, loc, scale) for draw in range(len(w))])


def probabilities_of(posterior: Posterior, task: int) -> Tensor:
    """p(y | x, w) of a task's queries under each stored draw, (S, Q, [B' +] N)."""
    w, w_base = weights_of(posterior, task)
    return cosine_probabilities(posterior, task, w, w_base)


def cosine_probabilities(
    posterior: Posterior, task: int, w: Tensor, w_base: Tensor | None, points: str = "query_x"
) -> Tensor:
    """The same for any weights, (..., N, D) [, (..., B', D)], and for the queries or `support_x`."""
    weights = w if w_base is None else torch.cat([w_base, w], dim=-2)
    scale = stored(posterior, "predictor_scale").float()
    return cosine_logits(stored(posterior, points, task), weights, scale).softmax(-1)
