"""Two predictions of a task, one of which takes even classes for granted, blended by how even they look."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.torch_state import gradients_on

_LEAST = 1e-5
_STEPS = 100


class Gate(ABC):
    """The share of the even prediction in a task's own, by how uneven the other one finds the task."""

    @abstractmethod
    def __call__(self, uneven: Tensor) -> Tensor:
        """(T, Q, N) probabilities, by a model that takes no evenness for granted -> (T,) in [0, 1]."""

    def blend(self, even: Tensor, uneven: Tensor) -> Tensor:
        """(T, Q, N) probabilities twice -> their mixture."""
        share = self(uneven)[:, None, None]
        return share * even + (1 - share) * uneven


@dataclass(frozen=True)
class LogisticGate(Gate):
    """The probability that a task is one for the even prediction, sigmoid(offset + slope * log unevenness).

    Attributes:
        offset: of the logit.
        slope: negative where evenness speaks for the even prediction.
    """

    offset: float
    slope: float

    def __call__(self, uneven: Tensor) -> Tensor:
        """The probability."""
        return torch.sigmoid(self.offset + self.slope * log_unevenness(uneven))


@dataclass(frozen=True)
class EvennessTest(Gate):
    """All or nothing: the even prediction unless the task looks more uneven than even tasks do.

    Attributes:
        threshold: of log unevenness; above it evenness is rejected.
    """

    threshold: float

    def __call__(self, uneven: Tensor) -> Tensor:
        """1 where evenness is kept, 0 where it is rejected."""
        return (log_unevenness(uneven) <= self.threshold).to(uneven.dtype)


def fit_test(uneven: Tensor, false_alarms: float) -> EvennessTest:
    """The test that rejects evenness in this share of even tasks.

    Args:
        uneven: (T, Q, N) probabilities of even tasks, by a model that takes no evenness for granted.
        false_alarms: between 0 and 1.
    """
    seen = log_unevenness(uneven).double()
    return EvennessTest(float(torch.quantile(seen, 1 - false_alarms)))


def log_unevenness(p: Tensor) -> Tensor:
    """Log of N sum_n m_n^2 - 1, m the mean of (T, Q, N) over the queries: chi squared from even, (T,)."""
    mean = p.mean(1)
    return (p.shape[-1] * mean.square().sum(-1) - 1).clamp_min(_LEAST).log()


@gradients_on()
def fit_gate(even: Tensor, uneven: Tensor, y: Tensor) -> LogisticGate:
    """The logistic gate whose mixture has the least mean negative log likelihood of the labels.

    Args:
        even: (T, Q, N) probabilities by the model of even tasks.
        uneven: by the other.
        y: (T, Q).
    """
    gathered = [p.gather(-1, y[..., None]).squeeze(-1).double() for p in (even, uneven)]
    seen = log_unevenness(uneven).double()
    centred = (seen - seen.mean()) / seen.std().clamp_min(_LEAST)
    weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        share = torch.sigmoid(weights[0] + weights[1] * centred)[:, None]
        mixture = share * gathered[0] + (1 - share) * gathered[1]
        value = -mixture.clamp_min(torch.finfo(torch.float64).tiny).log().mean()
        value.backward()
        return value

    optimizer.step(loss)
    slope = float(weights[1].detach() / seen.std().clamp_min(_LEAST))
    return LogisticGate(float(weights[0].detach() - slope * seen.mean()), slope)
