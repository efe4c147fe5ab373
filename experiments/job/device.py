"""The device that a command computes on, and torch's threads."""

import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.options.machine import MachineOptions, check_device


def choose_device(name: str) -> torch.device:
    """The named device; auto is a GPU where there is one.

    Raises:
        InputError: an unknown name, or cuda asked for and not there.
    """
    check_device(name)
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda, but torch sees no GPU; pass --device cpu")
    return torch.device(name)


def use_threads(settings: MachineOptions) -> None:
    """Let torch have as many as the settings say, from here on."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
