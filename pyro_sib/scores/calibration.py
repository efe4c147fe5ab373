"""When to trust a prediction: calibration curves and their errors, selective prediction, detection of strangers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key, uniform

BINS = 15
"""Of the expected calibration error."""
_BOOTSTRAP = make_key("bootstrap of the calibration error")


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in bins of equal width, each (bins,); NaN where a bin is empty.

    Attributes:
        confidence: mean largest probability.
        accuracy: share of right answers.
        count: queries.
        error: ECE, percent (Guo et al. 2017).
        standard_error: of the ECE, percent, from resampled tasks: the queries of a task are not independent. NaN of
            one task, which says nothing of others.
    """

    confidence: Tensor
    accuracy: Tensor
    count: Tensor
    error: float
    standard_error: float


def reliability(confidence: Tensor, correct: Tensor, bins: int = BINS, resamples: int = 200) -> Reliability:
    """The curve, and its error, of predictions for T tasks.

    Args:
        confidence: (T, Q) largest probability of each query; NaN counts as 0.
        correct: (T, Q) whether it was the right class.
        bins: of equal width.
        resamples: of the T tasks, with replacement; the numbers drawn are the same at every call.
    """
    confidence, hits = confidence.double().cpu(), correct.double().cpu()
    confidence = confidence.nan_to_num(0.0)
    index = (confidence * bins).long().clamp(0, bins - 1)
    tasks = len(confidence)
    if not confidence.numel():
        empty = torch.full((bins,), float("nan"), dtype=torch.float64)
        return Reliability(empty, empty, torch.zeros_like(empty), float("nan"), float("nan"))

    def summed(values: Tensor) -> Tensor:
        return torch.zeros(tasks, bins, dtype=torch.float64).scatter_add_(1, index, values)

    count, confident, right = summed(torch.ones_like(hits)), summed(confidence), summed(hits)
    gaps = right - confident
    rows = (uniform(_BOOTSTRAP, torch.arange(resamples), 0, tasks) * tasks).long()
    again = torch.stack([gaps[row].sum(0).abs().sum() for row in rows]) / confidence.numel()
    total = count.sum(0)
    return Reliability(
        confidence=confident.sum(0) / total,
        accuracy=right.sum(0) / total,
        count=total,
        error=100 * float(gaps.sum(0).abs().sum() / confidence.numel()),
        standard_error=100 * float(again.std()) if tasks > 1 else float("nan"),
    )


def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 15) -> float:
    """ECE in percent over equal-width bins (Guo et al. 2017): confidences and hits of any equal shape.

    A NaN confidence counts as 0; without queries the error is NaN.
    """
    confidence, hits = confidence.flatten().double().nan_to_num(0.0), correct.flatten().double()
    if not len(hits):
        return float("nan")
    index = (confidence * bins).long().clamp(0, bins - 1)
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, index.cpu(), (hits - confidence).cpu())
    return 100 * float(gap.abs().sum()) / len(hits)


def risk_coverage(confidence: Tensor, correct: Tensor) -> tuple[Tensor, Tensor]:
    """Share answered and share wrong among those, the most confident first (Geifman & El-Yaniv 2017).

    Queries of equal confidence are answered together, so that their order cannot matter; a NaN counts as none.

    Args:
        confidence: of n queries, any shape.
        correct: of the same shape.

    Returns:
        Coverage and risk, each (k,) with k distinct confidences, both in 0..1.
    """
    confidence, wrong = confidence.flatten().double().cpu().nan_to_num(0.0), 1 - correct.flatten().double().cpu()
    order = confidence.argsort(descending=True)
    last = torch.ones(len(order), dtype=torch.bool)
    last[:-1] = confidence[order][1:] != confidence[order][:-1]
    answered = torch.arange(1, len(order) + 1, dtype=torch.float64)
    return (answered / len(order))[last], (wrong[order].cumsum(0) / answered)[last]


def area_under_risk(confidence: Tensor, correct: Tensor) -> float:
    """AURC in percent: the mean risk over coverages; NaN without queries."""
    if not confidence.numel():
        return float("nan")
    coverage, risk = risk_coverage(confidence, correct)
    return 100 * float((risk * coverage.diff(prepend=torch.zeros(1, dtype=torch.float64))).sum())


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Chance that a positive's score is above a negative's, ties counting half; scores of any shape.

    NaN where either has none, or a score is NaN: nothing can be told apart then.
    """
    positive, negative = positive.flatten().double().cpu(), negative.flatten().double().cpu()
    if not len(positive) or not len(negative) or bool(positive.isnan().any() | negative.isnan().any()):
        return float("nan")
    ordered = negative.sort().values
    below = torch.searchsorted(ordered, positive, right=False)
    up_to = torch.searchsorted(ordered, positive, right=True)
    return float((below + up_to).double().mean() / (2 * len(negative)))


def entropy(probabilities: Tensor) -> Tensor:
    """Nats: (..., C) -> (...)."""
    return -(probabilities * probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()).sum(-1)


def mutual_information(draws: Tensor) -> Tensor:
    """Nats that a label would tell about w (Houlsby et al. 2011): (draws, ..., C) -> (...)."""
    return (entropy(draws.mean(0)) - entropy(draws).mean(0)).clamp_min(0)


def fit_temperature(log_probabilities: Tensor, y: Tensor) -> float:
    """The temperature with the least NLL of the predictions averaged over draws (Guo et al. 2017).

    Args:
        log_probabilities: (draws, T, Q, C), or (1, T, Q, C) of a point.
        y: (T, Q).

    Returns:
        In 1/8..8, to a thousandth of its logarithm, by golden sections.
    """
    low, high = -2.0794, 2.0794
    ratio = (5**0.5 - 1) / 2
    while high - low > 1e-3:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if _nll(log_probabilities, y, left) < _nll(log_probabilities, y, right):
            high = right
        else:
            low = left
    return float(torch.tensor((low + high) / 2).exp())


def tempered(log_probabilities: Tensor, temperature: float) -> Tensor:
    """Probabilities at a temperature: (..., C) -> (..., C)."""
    return (log_probabilities / temperature).softmax(-1)


def mean_nll(probabilities: Tensor, y: Tensor) -> float:
    """Nats: (T, Q, C), (T, Q)."""
    right = probabilities.gather(-1, y[..., None])
    return -float(right.clamp_min(torch.finfo(right.dtype).tiny).log().mean())


def _nll(log_probabilities: Tensor, y: Tensor, log_temperature: float) -> float:
    return mean_nll(tempered(log_probabilities, 2.718281828459045**log_temperature).mean(0), y)
