"""Where a command computes, and where it keeps what it can use again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch
import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.options.names import listed

DEVICES = ("auto", "cpu", "cuda")


def check_device(name: str) -> None:
    """Refuse what names no device.

    Raises:
        InputError: an unknown name.
    """
    if name not in DEVICES:
        raise InputError(f"unknown device {name!r}; choose one of {', '.join(DEVICES)}")


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


@dataclass(frozen=True, kw_only=True)
class CacheOptions:
    """Of commands that read images."""

    group: ClassVar[str] = "machine"
    cache_dir: Path = Path("runs/cache")
    """Where decoded images, trained backbones and features are kept, by content."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Of commands that can use a GPU."""

    group: ClassVar[str] = "machine"
    device: Annotated[str, tyro.conf.arg(help=f"{listed(DEVICES)}.")] = "auto"


@dataclass(frozen=True, kw_only=True)
class MachineOptions(CacheOptions, DeviceOptions):
    """Of commands that train or evaluate."""

    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """CPU threads; torch's choice, unless given."""

    def use_threads(self) -> None:
        """Let torch have that many, from here on."""
        if self.threads:
            torch.set_num_threads(self.threads)
