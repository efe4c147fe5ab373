"""Training tasks of many sizes from several domains, each batch a function of (key, iteration) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from pyro_sib.cosine import unit
from pyro_sib.counter_rng import make_key
from pyro_sib.data import Split
from pyro_sib.errors import InputError, argument
from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.tasks.proportions import EXACT
from pyro_sib.tasks.shape import TaskDistribution
from pyro_sib.types import Episode, Evidence


@dataclass(frozen=True)
class Domain:
    """Images of classes from which tasks are made.

    Attributes:
        rows: (n, D) features with their classes.
        known: whether the feature network was trained on these classes, so that its tasks are made harder.
        made: whether the images or their features were made, and are not as they were photographed.
    """

    rows: Split
    known: bool = False
    made: bool = False

    @property
    def like_yours(self) -> bool:
        """Whether these are what users have: photographs of classes that the feature network does not know."""
        return not (self.known or self.made)


class AnyTaskSource:
    """Batches of training tasks, of one shape each, the shapes mixed over iterations and domains taken in turn.

    Args:
        domains: two classes or more each; features of any D.
        distribution: of the tasks' sizes and difficulty.
        coordinates: in which the tasks are given.
        key: of the random numbers.

    Raises:
        InputError: a domain with a class too small for the tasks, or with too few classes.
    """

    def __init__(
        self, domains: Sequence[Domain], distribution: TaskDistribution, coordinates: TaskCoordinates, key: int
    ):
        self.domains, self.distribution, self.coordinates, self.key = tuple(domains), distribution, coordinates, key
        least = max(*distribution.shots, distribution.most_shots if 0 in distribution.shots else 1) + 1
        for domain in self.domains:
            names, counts = domain.rows.class_names, domain.rows.counts
            if len(names) < min(distribution.ways):
                raise InputError(f"a domain has {len(names)} classes, fewer than {argument('ways')} asks for")
            if int(counts.min()) < least:
                small = names[int(counts.argmin())]
                raise InputError(
                    f"class {small} has {int(counts.min())} images, but {least} are needed; add images"
                )
        self._rows = [
            [torch.nonzero(domain.rows.y == c)[:, 0] for c in range(len(domain.rows.class_names))]
            for domain in self.domains
        ]

    def batch(self, iteration: int, size: int) -> Episode:
        """The iteration's batch of training tasks, in their coordinates."""
        generator = torch.Generator().manual_seed(make_key(self.key, iteration) & (2**63 - 1))
        which = iteration % len(self.domains)
        ways, counts, queries, alpha = self._shape(which, generator)
        tasks = [self._task(which, counts, queries, alpha, generator) for _ in range(size)]
        support, labels, query, query_y = (torch.stack(part) for part in zip(*tasks, strict=True))
        told = float(torch.rand((), generator=generator)) < self.distribution.told
        concentration = torch.full((size, ways), alpha or EXACT) if told else None
        evidence = Evidence.trusted(
            support_x=support,
            support_y=labels,
            query_x=query,
            ways=ways,
            task_ids=iteration * size + torch.arange(size),
            proportions=concentration,
        )
        return self.coordinates(Episode.trusted(evidence, query_y))

    def _shape(self, which: int, generator: Generator) -> tuple[int, list[int], int, float]:
        """N, the labeled examples of each class, all queries, and the proportions' concentration (0: even)."""
        own, most = self.distribution, len(self._rows[which])
        ways = int(_pick([n for n in own.ways if n <= most], generator))
        shots = int(_pick(own.shots, generator))
        unequal = torch.randint(1, own.most_shots + 1, (ways,), generator=generator).tolist()
        each = int(torch.randint(own.queries[0], own.queries[1] + 1, (), generator=generator))
        counts = [shots] * ways if shots else unequal
        left = ways * int(self.domains[which].rows.counts.min()) - sum(counts)  # in the smallest classes
        return ways, counts, min(each * ways, left), float(_pick(own.alphas, generator))

    def _task(
        self, which: int, counts: Sequence[int], queries: int, alpha: float, generator: Generator
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Features and labels of one task's labeled examples, and of its queries."""
        rows, ways = self._rows[which], len(counts)
        classes = torch.randperm(len(rows), generator=generator)[:ways].tolist()
        counts = [counts[i] for i in torch.randperm(ways, generator=generator).tolist()]
        shuffled = [rows[c][torch.randperm(len(rows[c]), generator=generator)] for c in classes]
        room = torch.tensor([len(r) - n for r, n in zip(shuffled, counts, strict=True)])
        asked = divided(queries, ways, alpha, room, generator)
        labeled = torch.cat([r[:n] for r, n in zip(shuffled, counts, strict=True)])
        query = torch.cat([r[n : n + q] for r, n, q in zip(shuffled, counts, asked, strict=True)])
        x = self.harder(which, torch.cat([labeled, query]), generator)
        of_class = torch.arange(ways)
        y = of_class.repeat_interleave(torch.tensor(counts)), of_class.repeat_interleave(torch.tensor(asked))
        return x[: len(labeled)], y[0], x[len(labeled) :], y[1]

    def harder(self, which: int, numbers: Tensor, generator: Generator) -> Tensor:
        """Unit features of these rows, mixed with a small pool's where the network knows the classes too well."""
        domain, own = self.domains[which], self.distribution
        x = unit(domain.rows.x[numbers].float())
        if not (domain.known and own.difficulty):
            return x
        weight = own.difficulty * torch.rand((), generator=generator)
        size = int(torch.randint(own.pool[0], own.pool[1] + 1, (), generator=generator))
        pool = torch.randint(len(domain.rows.y), (size,), generator=generator)
        others = unit(domain.rows.x[pool].float())[torch.randint(size, (len(x),), generator=generator)]
        return (1 - weight) * x + weight * others


def _pick(values: Sequence[float], generator: Generator) -> float:
    return values[int(torch.randint(len(values), (), generator=generator))]


def divided(queries: int, ways: int, alpha: float, room: Tensor, generator: Generator) -> list[int]:
    """How many queries each class has, by largest remainders, none more than there is room for."""
    shares = torch.full((ways,), 1 / ways, dtype=torch.float64)
    if alpha:
        gamma = torch._standard_gamma(torch.full((ways,), alpha, dtype=torch.float64), generator=generator)
        shares = (gamma + 1e-12) / (gamma + 1e-12).sum()
    counts = torch.minimum((queries * shares).floor().long(), room)
    order = (queries * shares - counts).argsort(descending=True).tolist()
    while (left := queries - int(counts.sum())) > 0:
        for place in [i for i in order if counts[i] < room[i]][:left]:
            counts[place] += 1
    found: list[int] = counts.tolist()
    return found
