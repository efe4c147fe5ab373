"""The least time for a piece of work: its arithmetic and its bytes at the rates measured here and now."""

from dataclasses import asdict, dataclass
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from pyro_sib.backbones import make_backbone
from pyro_sib.experiments.speed.case import BASE_CLASSES, TaskCase
from pyro_sib.experiments.speed.timing import Clock, Work

_BYTES = 4


@dataclass(frozen=True)
class Rates:
    """What the device reaches on large tensors.

    Attributes:
        flops: a second, of float32 matrix products (in torch's present precision).
        network_flops: the same in the precision of the backbones: bfloat16 on a GPU.
        bytes: a second, read and written, of a copy in memory.
    """

    flops: float
    network_flops: float
    bytes: float

    def floor(self, flops: float, moved: float, network: bool = False) -> float:
        """Seconds: whichever takes longer, the arithmetic or the memory traffic."""
        return max(flops / (self.network_flops if network else self.flops), moved / self.bytes)

    def as_dict(self) -> dict[str, float]:
        """Rounded to whole GFLOP/s and GB/s."""
        return {f"g{name}_per_s": round(value / 1e9, 1) for name, value in asdict(self).items()}


def measure_rates(device: torch.device, quick: bool = False) -> Rates:
    """Time matrix products and a copy, each the median of several."""
    gpu = device.type == "cuda"
    side = 8192 if gpu else (256 if quick else 1024)
    elements = 2**28 if gpu else (2**20 if quick else 2**24)
    plain = _matmul_rate(side, torch.float32, device)
    network = _matmul_rate(side, torch.bfloat16, device) if gpu else plain
    source, target = (torch.ones(elements, device=device) for _ in range(2))
    copy = 2 * _BYTES * elements / _median_time(lambda: target.copy_(source), device)
    return Rates(plain, network, copy)


def _matmul_rate(side: int, dtype: torch.dtype, device: torch.device) -> float:
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * side**3 / _median_time(lambda: torch.mm(a, b, out=out), device)


def _median_time(work: Work, device: torch.device) -> float:
    clock = Clock(device)
    work()
    return median(clock.time(work) for _ in range(7))


def inference_flops(case: TaskCase) -> float:
    """Of the matrix products that K steps and the prediction need.

    A step has the logits and the gradient in w, 2 T Q N D operations each, and xi on T Q rows; a prediction has the
    logits once more. Joint tasks have twice the queries, and the base classes' logits, which steps and prediction
    share.
    """
    product, xi = _products(case)
    base = product / case.ways * BASE_CLASSES if case.joint else 0.0
    return case.steps * (2 * product + xi) + product + base


def training_flops(case: TaskCase) -> float:
    """Of the matrix products of one training step in the standard setting.

    Features are constants, so that each product with them has one gradient; xi's layers have two. psi's route
    through the steps is one more pass backward through all but the first of them, with xi's parameters constant.
    """
    product, xi = _products(case)
    backward = case.steps * (2 * product + 2 * xi) + product
    psi_route = max(case.steps - 1, 0) * (2 * product + xi)
    return inference_flops(case) + backward + psi_route


def _products(case: TaskCase) -> tuple[float, float]:
    rows = case.tasks * case.queries * (2 if case.joint else 1)
    hidden = 8 * case.ways
    xi = 2 * rows * hidden * (case.ways + case.joint + hidden + case.ways)
    return 2.0 * rows * case.ways * case.features, float(xi)


def feature_bytes(case: TaskCase) -> float:
    """Of all tasks' features, read once."""
    rows = case.ways * case.shots + case.queries * (2 if case.joint else 1)
    return float(_BYTES * case.tasks * rows * case.features)


def update_bytes(parameters: int) -> float:
    """Of Adam's update: the gradient read, the value and both moments read and written."""
    return 7.0 * _BYTES * parameters


def network_flops(backbone: str, size: int, training: bool) -> float:
    """Of a backbone's convolutions and matrix products for one image; with the backward pass in training."""
    network = make_backbone(backbone, size).train(training).to("meta")  # shapes alone: nothing is computed
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        features = network(torch.empty(2, 3, size, size, device="meta"))
        if training:
            features.sum().backward()
    return counter.get_total_flops() / 2
