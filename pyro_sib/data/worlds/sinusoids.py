"""Few-shot regression tasks: sinusoids of random amplitude and phase (Finn et al. 2017, section 5.1)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.counter_rng import distinct_integers, make_key, uniform
from pyro_sib.data.worlds.sinusoid_shape import CELLS, SinusoidShape
from pyro_sib.types import Episode, Evidence

AMPLITUDES = (0.1, 5.0)
PHASES = (0.0, torch.pi)
INPUTS = (-5.0, 5.0)
_AMPLITUDE, _PHASE, _INPUTS = range(3)


@dataclass(frozen=True)
class SinusoidSource:
    """Tasks y = a sin(x - b), each a function of (key, index) alone; y is free of noise.

    Attributes:
        shape: points in a task.
        key: from `sinusoid_key`.
        features: (T, P, 1) inputs -> (T, P, D), the f of eq. (2).
    """

    shape: SinusoidShape
    key: int
    features: Callable[[Tensor], Tensor]

    def curve(self, indices: Tensor, x: Tensor) -> Tensor:
        """The true functions: (T,), (T, P) -> (T, P)."""
        amplitude, phase = (
            low + (high - low) * uniform(self.key, indices, stream, 1)
            for stream, (low, high) in ((_AMPLITUDE, AMPLITUDES), (_PHASE, PHASES))
        )
        return (amplitude * torch.sin(x - phase)).float()

    def inputs(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """(T,) -> x of the labeled points, (T, M), and of the queries, (T, Q); no point in both."""
        count = self.shape.shots + self.shape.queries
        low = torch.zeros(1, count, dtype=torch.int64)
        cells = distinct_integers(self.key, indices, _INPUTS, low, low + CELLS)
        x = INPUTS[0] + (INPUTS[1] - INPUTS[0]) * (cells + 0.5) / CELLS
        support, query = x.split([self.shape.shots, self.shape.queries], dim=1)
        return support, query

    def episodes(self, indices: Tensor) -> Episode:
        """(T,) task numbers -> those tasks, of one "class"; all labels are floats."""
        support, query = self.inputs(indices)
        evidence = Evidence.trusted(
            support_x=self.features(support[..., None]),
            support_y=self.curve(indices, support),
            query_x=self.features(query[..., None]),
            ways=1,
            task_ids=indices,
        )
        return Episode.trusted(evidence, self.curve(indices, query))

    def batch(self, iteration: int, size: int) -> Episode:
        """The iteration's batch of training tasks."""
        return self.episodes(torch.arange(iteration * size, (iteration + 1) * size))


def sinusoid_key(seed: int, purpose: str) -> int:
    """The key of a stream of tasks; `purpose` keeps training, selection and evaluation apart."""
    return make_key("sinusoids", seed, purpose)
