"""What a benchmark's stages are given, and the rows that they give back."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from pyro_sib.experiments.speed.floor import Rates


@dataclass(frozen=True)
class Bench:
    """What every stage is given.

    Attributes:
        device: to work on.
        threads: of torch.
        rates: the device's.
        quick: small sizes and few repetitions.
        seconds: to spend on the repetitions of one case.
        backbones: to train and to run.
        say: one line to the user.
    """

    device: torch.device
    threads: int
    rates: Rates
    quick: bool
    seconds: float
    backbones: tuple[str, ...]
    say: Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One line of the results: seconds of ours and of a peer on the same work.

    `peer` and `peer_s` are None where there is no peer, `floor_s` where none is known, `peak_mib` where it was not
    measured.
    """

    stage: str
    params: dict[str, Any]
    ours_s: float
    peer: str | None = None
    peer_s: float | None = None
    floor_s: float | None = None
    peak_mib: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours / peer: below 1 ours is faster."""
        return None if self.peer_s is None else self.ours_s / self.peer_s

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("stage", "params", "peer", "ours_s", "peer_s", "ratio", "floor_s", "peak_mib")
        return {name: getattr(self, name) for name in names}


Progress = Callable[[int, int], None]
"""Told (cases done, cases in all)."""


def rows_of(row: Row, peers: dict[str, float]) -> Iterator[Row]:
    """The row beside each peer's seconds, or alone without any."""
    if not peers:
        yield row
    for peer, seconds in peers.items():
        yield replace(row, peer=peer, peer_s=seconds)
