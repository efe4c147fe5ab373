"""Tasks with piles of a given size, of which a part may belong to none of the labeled classes."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.data import Split
from pyro_sib.experiments.other_domains.grid import MOST_UNEQUAL, UNEQUAL
from pyro_sib.experiments.other_domains.tasks import Known
from pyro_sib.experiments.piles_grid.forms import PileForm
from pyro_sib.tasks.any_task import divided


@dataclass(frozen=True)
class PileDrawer:
    """Draws a cell's tasks; a class that has too few rows gives those that it has.

    Attributes:
        split: features by class, (n, D).
        form: of the tasks.
        key: of the random numbers.
    """

    split: Split
    form: PileForm
    key: int

    @staticmethod
    def of(split: Split, fingerprint: str, form: PileForm, seed: int) -> "PileDrawer":
        """For features of that fingerprint."""
        own = form.form
        return PileDrawer(
            split,
            form,
            make_key("piles", fingerprint, seed, own.ways, own.shots, own.balance, form.pile, form.unknown),
        )

    def draw(self, index: int) -> tuple[Known, Tensor]:
        """The task of that number, and the labels of its pile, (Q,) int64, -1 for what belongs to no class."""
        generator = torch.Generator().manual_seed(make_key(self.key, index) % 2**63)
        own = self.form.form
        order = torch.randperm(len(self.split.class_names), generator=generator).tolist()
        shuffled = [self._rows(c, generator) for c in order]
        shots = self._shots(generator)
        mine = shuffled[: own.ways]
        room = torch.tensor([len(rows) - n for rows, n in zip(mine, shots, strict=True)])
        other = torch.cat([*shuffled[own.ways :], torch.zeros(0, dtype=torch.int64)])
        strange = other[torch.randperm(len(other), generator=generator)][
            : round(self.form.unknown * self.form.pile)
        ]
        queries = min(self.form.pile - round(self.form.unknown * self.form.pile), int(room.sum()))
        alpha = own.proportions.alpha if own.proportions else 0.0
        counts = divided(queries, own.ways, alpha, room, generator)
        support = tuple(self.split.x[rows[:n]] for rows, n in zip(mine, shots, strict=True))
        asked = [rows[n : n + q] for rows, n, q in zip(mine, shots, counts, strict=True)]
        labels = torch.arange(own.ways).repeat_interleave(torch.tensor(counts))
        labels = torch.cat([labels, torch.full((len(strange),), -1)])
        mixed = torch.randperm(len(labels), generator=generator)
        return Known(support, self.split.x[torch.cat([*asked, strange])[mixed]], index), labels[mixed]

    def _rows(self, c: int, generator: torch.Generator) -> Tensor:
        return self.split.offsets[c] + torch.randperm(int(self.split.counts[c]), generator=generator)

    def _shots(self, generator: torch.Generator) -> list[int]:
        own = self.form.form
        if own.shots != UNEQUAL:
            return [own.most_shots] * own.ways
        drawn: list[int] = torch.randint(1, MOST_UNEQUAL + 1, (own.ways,), generator=generator).tolist()
        return drawn
