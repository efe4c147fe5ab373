"""Where a command computes, and where it keeps what it can use again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

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
