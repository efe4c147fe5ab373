"""Training tasks some of whose queries belong to none of their classes."""

import torch
from torch import Generator, Tensor

from pyro_sib.counter_rng import make_key
from pyro_sib.tasks.any_task import AnyTaskSource, divided
from pyro_sib.types import Episode, Evidence

_NONE, _SHARES, _MOST_CLASSES = 0.3, (0.02, 0.5), 10


class UnknownTaskSource(AnyTaskSource):
    """Batches of `AnyTaskSource`'s tasks with further queries, labeled -1, of up to ten other classes.

    Three batches of ten have none of them; in the others they are 2 to 50% of the queries. A quarter of the batches
    have piles four times as large, as far as there are images.
    """

    def batch(self, iteration: int, size: int) -> Episode:
        """The iteration's batch of training tasks, in their coordinates."""
        generator = torch.Generator().manual_seed(make_key(self.key, iteration) & (2**63 - 1))
        which = iteration % len(self.domains)
        ways, counts, queries, alpha = self._shape(which, generator)
        if float(torch.rand((), generator=generator)) < 0.25:
            left = ways * int(self.domains[which].rows.counts.min()) - sum(counts)
            queries = min(4 * queries, left)
        others = min(_MOST_CLASSES, len(self._rows[which]) - ways)
        share = _SHARES[0] + (_SHARES[1] - _SHARES[0]) * float(torch.rand((), generator=generator))
        if others < 1 or float(torch.rand((), generator=generator)) < _NONE:
            others, share = 0, 0.0
        unknown = min(round(share / (1 - share) * queries), others * int(self.domains[which].rows.counts.min()))
        tasks = [self._open(which, counts, queries, alpha, others, unknown, generator) for _ in range(size)]
        support, labels, query, query_y = (torch.stack(part) for part in zip(*tasks, strict=True))
        ids = iteration * size + torch.arange(size)
        evidence = Evidence.trusted(support_x=support, support_y=labels, query_x=query, ways=ways, task_ids=ids)
        return self.coordinates(Episode.trusted(evidence, query_y))

    def _open(
        self,
        which: int,
        counts: list[int],
        queries: int,
        alpha: float,
        others: int,
        unknown: int,
        generator: Generator,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features and labels of one task's labeled examples, and of its queries."""
        rows, ways = self._rows[which], len(counts)
        classes = torch.randperm(len(rows), generator=generator).tolist()
        shuffled = [rows[c][torch.randperm(len(rows[c]), generator=generator)] for c in classes[:ways]]
        room = torch.tensor([len(r) - n for r, n in zip(shuffled, counts, strict=True)])
        asked = divided(queries, ways, alpha, room, generator)
        pool = rows[0][:0]
        if unknown:
            least = -(-unknown // int(self.domains[which].rows.counts.min()))
            some = least + int(torch.randint(others - least + 1, (), generator=generator))
            pool = torch.cat([rows[c] for c in classes[ways : ways + some]])
            pool = pool[torch.randperm(len(pool), generator=generator)[:unknown]]
        labeled = torch.cat([r[:n] for r, n in zip(shuffled, counts, strict=True)])
        query = [r[n : n + q] for r, n, q in zip(shuffled, counts, asked, strict=True)]
        x = self.harder(which, torch.cat([labeled, *query, pool]), generator)
        of_class = torch.arange(ways)
        y = torch.cat([of_class.repeat_interleave(torch.tensor(asked)), torch.full((unknown,), -1)])
        return x[: len(labeled)], of_class.repeat_interleave(torch.tensor(counts)), x[len(labeled) :], y
