"""Tasks of a domain, each a function of (features, seed, form, index) alone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.data import Split
from pyro_sib.experiments.other_domains.grid import MOST_UNEQUAL, UNEQUAL, Form
from pyro_sib.tasks.coordinates import raised
from pyro_sib.tasks.query_balance import query_counts
from pyro_sib.tasks.shape import POWER


@dataclass(frozen=True)
class Known:
    """What a method is given of a task: nothing of the queries' labels, their order is drawn.

    Attributes:
        support: (m_n, D) labeled examples of each of the N classes.
        queries: (Q, D).
        index: the task's number, for methods that draw.
    """

    support: tuple[Tensor, ...]
    queries: Tensor
    index: int

    def raised(self, power: float = POWER) -> "Known":
        """The same task, its features to a power where none is negative."""
        rows = raised(torch.cat([*self.support, self.queries])[None], power)[0]
        *support, queries = rows.split([*map(len, self.support), len(self.queries)])
        return Known(tuple(support), queries, self.index)


@dataclass(frozen=True)
class TaskDrawer:
    """Draws a cell's tasks.

    Attributes:
        split: features by class, (n, D).
        form: of the tasks.
        queries: of each class on average; a class that has too few rows gives those that it has.
        key: of the random numbers.
    """

    split: Split
    form: Form
    queries: int
    key: int

    @staticmethod
    def of(split: Split, fingerprint: str, form: Form, queries: int, seed: int) -> "TaskDrawer":
        """For features of that fingerprint."""
        parts = (fingerprint, seed, queries, form.ways, form.shots, form.balance)
        return TaskDrawer(split, form, queries, make_key("other domains", *parts))

    def draw(self, index: int) -> tuple[Known, Tensor]:
        """What a method is given of the task of that number, and the queries' labels, (Q,) int64."""
        generator = torch.Generator().manual_seed(make_key(self.key, index) % 2**63)
        classes = torch.randperm(len(self.split.class_names), generator=generator)[: self.form.ways]
        support, asked = [], []
        for c, shots, queries in zip(classes.tolist(), self._shots(generator), self._counts(index), strict=True):
            rows = self.split.offsets[c] + torch.randperm(int(self.split.counts[c]), generator=generator)
            support.append(self.split.x[rows[:shots]])
            asked.append(rows[shots : shots + queries])
        labels = torch.repeat_interleave(torch.arange(len(asked)), torch.tensor([len(rows) for rows in asked]))
        order = torch.randperm(len(labels), generator=generator)
        return Known(tuple(support), self.split.x[torch.cat(asked)[order]], index), labels[order]

    def _shots(self, generator: torch.Generator) -> list[int]:
        if self.form.shots != UNEQUAL:
            return [self.form.most_shots] * self.form.ways
        drawn: list[int] = torch.randint(1, MOST_UNEQUAL + 1, (self.form.ways,), generator=generator).tolist()
        return drawn

    def _counts(self, index: int) -> list[int]:
        balance, ways = self.form.proportions, self.form.ways
        if balance is None:
            return [self.queries] * ways
        counts = query_counts(self.key, torch.tensor([index]), 0, ways, ways * self.queries, balance)
        drawn: list[int] = counts[0].tolist()
        return drawn
