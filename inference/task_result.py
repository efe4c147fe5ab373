"""What a learner says of a task's queries, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.arviz_groups import to_arviz
from pyro_sib.errors import InputError
from pyro_sib.types import GaussianParameters

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class WeightDraws:
    """A task's posterior and its draws, kept for `Prediction.to_arviz`.

    Attributes:
        classes: names of the N classes whose weights these are.
        theta: loc and log_scale of q, (N, D) each.
        w: (draws, N, D) the draws that the prediction averages.
        probabilities: (draws, Q, C) the queries' probabilities under each.
    """

    classes: tuple[str, ...]
    theta: GaussianParameters
    w: Tensor
    probabilities: Tensor


@dataclass(frozen=True)
class Prediction:
    """Probabilities of the queries' classes; the queries were judged together.

    Attributes:
        classes: C names, in the order of `probabilities`' columns: base classes first where the learner knows
            them (LwoF), then the classes of the support in the order given.
        labels: (Q,) name of each query's most probable class.
        probabilities: (Q, C) float32, averaged over the posterior draws.
        entropy: (Q,) nats; the whole uncertainty of each query.
        mutual_information: (Q,) nats; the part of it that comes from not knowing the weights, and that more labeled
            examples would lessen. Zero for predictions at the mean and for learners without a posterior.
        draws: the posterior and its draws, where the learner has one.
        hypotheses: by name, what each weighs in this task's prediction, where the learner follows several of them
            (`gaussian-mixture`); they add up to one.
    """

    classes: tuple[str, ...]
    labels: NDArray[Any]
    probabilities: Floats
    entropy: Floats
    mutual_information: Floats
    draws: WeightDraws | None = field(default=None, repr=False)
    hypotheses: Mapping[str, float] | None = None

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.labels)

    @staticmethod
    def of(classes: tuple[str, ...], each: Tensor, draws: WeightDraws | None) -> "Prediction":
        """From the probabilities under each draw, (draws, Q, C)."""
        mean = each.mean(0)
        whole, within = _entropy(mean), _entropy(each).mean(0)
        labels = np.array([classes[i] for i in mean.argmax(-1).tolist()], dtype=np.str_)
        return Prediction(
            classes, labels, mean.numpy(), whole.numpy(), (whole - within).clamp_min(0).numpy(), draws
        )

    def to_arviz(self) -> Any:
        """Posterior, predictive probabilities and q itself, for ArviZ.

        Groups: `posterior` with w of (chain, draw, class, feature); `posterior_predictive` with probability of
        (chain, draw, query, label); `constant_data` with q_loc, q_scale and mean_probability.

        Returns:
            arviz.InferenceData, or xarray.DataTree from ArviZ 1.0 on.

        Raises:
            InputError: the learner has no posterior, or the prediction was made without draws.
        """
        import xarray as xr

        if self.draws is None:
            raise InputError("this learner has no posterior over weights, so there is nothing for ArviZ")
        if not len(self.draws.w):
            raise InputError("this prediction was made at the posterior's mean; predict with draws of 1 or more")
        kept = self.draws
        names = {"class": list(kept.classes), "label": list(self.classes)}

        def group(**arrays: tuple[tuple[str, ...], Any]) -> Any:
            used = {dim for dims, _ in arrays.values() for dim in dims}
            return xr.Dataset(arrays, coords={dim: values for dim, values in names.items() if dim in used})

        weights, loc, scale = kept.w[None].numpy(), kept.theta.loc.numpy(), kept.theta.log_scale.exp().numpy()
        groups = {
            "posterior": group(w=(("chain", "draw", "class", "feature"), weights)),
            "posterior_predictive": group(
                probability=(("chain", "draw", "query", "label"), kept.probabilities[None].numpy())
            ),
            "constant_data": group(
                q_loc=(("class", "feature"), loc),
                q_scale=(("class", "feature"), scale),
                mean_probability=(("query", "label"), self.probabilities),
            ),
        }
        return to_arviz(groups, {"inference_library": "pyro_sib"})


def _entropy(probabilities: Tensor) -> Tensor:
    """(..., C) -> (...) nats."""
    return -torch.special.xlogy(probabilities, probabilities).sum(-1)
