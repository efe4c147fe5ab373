"""What a learner says of a task's queries, as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyro_sib.arviz_groups import to_arviz
from pyro_sib.errors import InputError
from pyro_sib.files import write_text
from pyro_sib.inference.page.prediction_page import page_of
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
        none_of_these: (Q,) posterior probability of belonging to none of the classes, on condition of not which
            `probabilities` are; None where the learner is not one of tasks of any size.
        pictures: the queries as they were given, where they were pictures, for `report`.
        hypotheses: by name, what each weighs in this task's prediction, where the learner follows several of them
            (`gaussian-mixture`); they add up to one.
    """

    classes: tuple[str, ...]
    labels: NDArray[Any]
    probabilities: Floats
    entropy: Floats
    mutual_information: Floats
    draws: WeightDraws | None = field(default=None, repr=False)
    none_of_these: Floats | None = None
    pictures: tuple[Any, ...] = field(default=(), repr=False)
    hypotheses: Mapping[str, float] | None = None

    def __len__(self) -> int:
        """Number of queries."""
        return len(self.labels)

    @staticmethod
    def of(
        classes: tuple[str, ...], each: Tensor, draws: WeightDraws | None, none_of_these: Tensor | None = None
    ) -> "Prediction":
        """From the probabilities under each draw, (draws, Q, C), and those of no class, (Q,)."""
        mean = each.mean(0)
        whole, within = _entropy(mean), _entropy(each).mean(0)
        labels = np.array([classes[i] for i in mean.argmax(-1).tolist()], dtype=np.str_)
        apart = None if none_of_these is None else none_of_these.numpy()
        telling = (whole - within).clamp_min(0).numpy()
        return Prediction(classes, labels, mean.numpy(), whole.numpy(), telling, draws, apart)

    def frame(self, names: Sequence[str] | None = None) -> Any:
        """A pandas frame with a row for each query, and the columns of predictions.csv that are known here.

        Args:
            names: of the queries, as the frame's index; numbers from 0 unless given.

        Returns:
            pandas.DataFrame of label, confidence, probability of each class, entropy, mutual_information, and
            none_of_these where it is known.

        Raises:
            InputError: another number of names than queries.
        """
        import pandas as pd

        self._check_names(names)
        columns: dict[str, Any] = {"label": self.labels, "confidence": self.probabilities.max(1)}
        each = zip(self.classes, self.probabilities.T, strict=True)
        columns |= {f"probability of {name}": values for name, values in each}
        columns |= {"entropy": self.entropy, "mutual_information": self.mutual_information}
        if self.none_of_these is not None:
            columns["none_of_these"] = self.none_of_these
        return pd.DataFrame(columns, index=None if names is None else list(map(str, names)))

    def report(self, path: str | PathLike[str], names: Sequence[str] | None = None) -> None:
        """Write one HTML file that opens without a network: shares, what is strange or uncertain, and each class.

        The command classify says more: it leaves labeled pictures out in turn, and names what to label next.

        Args:
            path: of the file.
            names: of the queries; paths' last parts or numbers unless given.

        Raises:
            InputError: another number of names than queries, a picture that is gone, or no room on the disk.
        """
        self._check_names(names)
        write_text(Path(path), page_of(self, self.pictures, names))

    def _check_names(self, names: Sequence[str] | None) -> None:
        if names is not None and len(names) != len(self):
            raise InputError(
                f"names has {len(names)} entries, but there are {len(self)} queries; give one for each"
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
