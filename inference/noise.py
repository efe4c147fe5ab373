"""Standard normals for the draws of w inside a guide."""

import torch
from torch import Tensor

from pyro_sib.counter_rng import normal
from pyro_sib.types import Evidence


def standard_normal(
    key: int, evidence: Evidence, stream: int, samples: int, like: Tensor, fresh: bool = False
) -> Tensor:
    """Noise of each task from its number alone, so that neither batch size nor order changes it.

    Args:
        key: of the purpose.
        evidence: T tasks.
        stream: keeps draws of one purpose apart.
        samples: S.
        like: (T, ...), of one draw's shape.
        fresh: take torch's generator instead, as in training; so do tasks without numbers.

    Returns:
        (S, T, ...).
    """
    shape = (samples, *like.shape)
    if fresh or evidence.task_ids is None:
        return torch.randn(shape, device=like.device)
    epsilon = normal(key, evidence.task_ids, stream, samples * like[0].numel())
    return epsilon.view(shape[1], samples, *shape[2:]).transpose(0, 1)
