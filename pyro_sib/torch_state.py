"""Torch's global switches, as a user may have set them, put as this package needs them, and back."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch


@contextmanager
def gradients_on() -> Iterator[None]:
    """Autograd works inside, whatever mode is outside; without it a training would change nothing, in silence."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def plain_torch() -> Iterator[None]:
    """Single precision and the CPU by default, and autograd on; afterwards all is as before, threads included.

    Also a decorator of a function that does a whole command's work.
    """
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    with ExitStack() as stack:
        stack.enter_context(gradients_on())
        if torch.get_default_device().type != "cpu":  # each call of torch pays for this mode
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
