"""Whether a tensor's values can be looked at without waiting for a device or breaking a trace."""

import torch
from torch import Tensor, nn


def readable(tensor: Tensor) -> bool:
    """True for a plain tensor on the CPU; False on a GPU, for fake tensors, and under tracing or vmap."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu"
    return plain and not torch.jit.is_tracing() and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def finite(tensor: Tensor) -> bool:
    """Whether no number of a tensor is NaN or infinite; integers are finite."""
    if not tensor.is_floating_point():
        return True
    # One sum tells in a tenth of the time; where it overflows, or is not finite, each number is asked.
    with torch.no_grad():
        return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())
