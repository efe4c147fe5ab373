"""Episodes as whole batches of index tensors, each a function of (fingerprint, seed, index) alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from pyro_sib.counter_rng import distinct_integers, make_key, times_before, uniform
from pyro_sib.data import Split
from pyro_sib.errors import InputError, argument
from pyro_sib.tasks.query_balance import query_counts
from pyro_sib.tasks.shape import EpisodeShape, QueryBalance
from pyro_sib.types import Episode, Evidence

_CHUNK = 256
"""Tasks drawn at a time where they follow one another: a few take nearly as long."""
_CLASSES, _IMAGES, _BASE_CLASSES, _BASE_IMAGES, _PROPORTIONS = range(5)
# _PROPORTIONS takes four streams.


@dataclass(frozen=True)
class EpisodeIndex:
    """Rows of T tasks.

    Attributes:
        support: (T, N * S) rows of the novel split, class by class.
        query: (T, N * queries) rows of the novel split, class by class.
        base_query: (T, base_queries) rows of the base split.
        query_y: (T, Q) labels of the novel queries, then of the base queries.
        base_ids: (T, B') or None.
        task_ids: (T,) the tasks' numbers.
    """

    support: Tensor
    query: Tensor
    base_query: Tensor
    query_y: Tensor
    base_ids: Tensor | None
    task_ids: Tensor

    def span(self, first: int, last: int) -> "EpisodeIndex":
        """Those from the one in place `first` to the one before place `last`."""
        return self._each(lambda part: part[first:last])

    @staticmethod
    def join(parts: Sequence["EpisodeIndex"]) -> "EpisodeIndex":
        """One after another."""
        first, *rest = parts
        return first._each(lambda *column: torch.cat(column), *rest)

    def _each(self, function: Callable[..., Tensor], *others: "EpisodeIndex") -> "EpisodeIndex":
        """The function of each part, here and in the others; parts that are None stay so."""
        columns = {f.name: [getattr(index, f.name) for index in (self, *others)] for f in fields(self)}
        found: dict[str, Any] = {n: None if c[0] is None else function(*c) for n, c in columns.items()}
        return EpisodeIndex(**found)


class EpisodeSampler:
    """Draws tasks from a novel split and, for LwoF or a mixture prior, a split of base classes.

    Args:
        novel: the split whose classes are to be learned from few examples.
        base: the split that holds the base classes' query images, or None without base classes. The same split
            as `novel` means a training task: N of the B base classes play novel, the other B - N stay base.
        shape: ways, shots, queries.
        key: from `task_key`.

    Raises:
        InputError: fewer classes than ways, or fewer images in a class than shots + queries.
    """

    def __init__(self, novel: Split, base: Split | None, shape: EpisodeShape, key: int, name: str = "the data"):
        self.novel, self.base, self.shape, self.key = novel, base, shape, key
        self.pseudo_novel = base is novel
        self._chunk: tuple[int, EpisodeIndex] | None = None
        spare = 1 if self.pseudo_novel else 0
        if len(novel.class_names) < shape.ways + spare:
            raise InputError(
                f"{name} has {len(novel.class_names)} classes, fewer than the {shape.ways} of a task"
                f"{' and a base class' if spare else ''}; lower {argument('ways')}, or add classes"
            )
        most = shape.queries if shape.balance is None else shape.ways * shape.queries
        needed = shape.shots + most
        smallest = int(novel.counts.argmin())
        if int(novel.counts[smallest]) < needed:
            what = (
                f"{argument('queries')} {shape.queries}"
                if shape.balance is None
                else f"{most} queries, all of one class,"
            )
            raise InputError(
                f"{name}: class {novel.class_names[smallest]} has {int(novel.counts[smallest])} images, but "
                f"{argument('shots')} {shape.shots} + {what} needs {needed}; lower them or add images"
            )
        remaining = len(novel.class_names) - shape.ways if self.pseudo_novel else 0
        if base is not None and shape.base_queries:
            available = int(base.counts.sort().values[: remaining or None].sum())
            if available < shape.base_queries:
                raise InputError(
                    f"{name}: {available} base images for {shape.base_queries} base queries; add base images"
                )

    def sample(self, indices: Tensor) -> EpisodeIndex:
        """(T,) int64 task numbers -> the rows of those tasks."""
        shape, tasks = self.shape, len(indices)
        classes = self._classes(indices)
        support, query, novel_y = self._novel_rows(indices, classes)
        base_ids = self._base_ids(classes)
        base_query = torch.empty(tasks, 0, dtype=torch.int64)
        if shape.base_queries and self.base is not None and base_ids is not None:
            base_query, base_y = self._base_queries(indices, base_ids)
            novel_y = torch.cat([novel_y + base_ids.shape[1], base_y], dim=1)
        return EpisodeIndex(support, query, base_query, novel_y, base_ids, indices)

    def span(self, first: int, last: int) -> EpisodeIndex:
        """Tasks `first` .. `last` - 1, as `sample` gives them."""
        parts = []
        while first < last:
            number, start = divmod(first, _CHUNK)
            stop = min(start + last - first, _CHUNK)
            if self._chunk is None or self._chunk[0] != number:
                self._chunk = number, self.sample(torch.arange(number * _CHUNK, (number + 1) * _CHUNK))
            parts.append(self._chunk[1].span(start, stop))
            first += stop - start
        return parts[0] if len(parts) == 1 else EpisodeIndex.join(parts)

    def _novel_rows(self, indices: Tensor, classes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Support rows, query rows and the queries' classes, each class by class."""
        shape, tasks = self.shape, len(indices)
        if shape.balance is not None:
            return self._unbalanced_rows(indices, classes, shape.balance)
        per_class = shape.shots + shape.queries
        repeated = classes.repeat_interleave(per_class, dim=1)
        rows = self._images(indices, repeated).view(tasks, shape.ways, per_class)
        novel_y = torch.arange(shape.ways).repeat_interleave(shape.queries).expand(tasks, -1)
        return rows[:, :, : shape.shots].flatten(1), rows[:, :, shape.shots :].flatten(1), novel_y

    def _unbalanced_rows(
        self, indices: Tensor, classes: Tensor, balance: QueryBalance
    ) -> tuple[Tensor, Tensor, Tensor]:
        shape = self.shape
        total = shape.ways * shape.queries
        counts = query_counts(self.key, indices, _PROPORTIONS, shape.ways, total, balance)
        ends = counts.cumsum(-1)
        novel_y = (torch.arange(total)[None, :, None] >= ends[:, None, :]).sum(-1)
        support_y = torch.arange(shape.ways).repeat_interleave(shape.shots).expand(len(indices), -1)
        rows = self._images(indices, classes.gather(1, torch.cat([support_y, novel_y], dim=1)))
        return rows[:, : support_y.shape[1]], rows[:, support_y.shape[1] :], novel_y

    def _images(self, indices: Tensor, classes: Tensor) -> Tensor:
        """A row for each class named, (T, k) -> (T, k), no row twice in a task."""
        low, size = self.novel.offsets[classes], self.novel.counts[classes]
        return distinct_integers(self.key, indices, _IMAGES, low, size)

    def _classes(self, indices: Tensor) -> Tensor:
        zero = torch.zeros(1, self.shape.ways, dtype=torch.int64)
        return distinct_integers(self.key, indices, _CLASSES, zero, zero + len(self.novel.class_names))

    def _base_ids(self, classes: Tensor) -> Tensor | None:
        if self.base is None:
            return None
        everything = torch.arange(len(self.base.class_names)).expand(len(classes), -1)
        if not self.pseudo_novel:
            return everything
        kept = torch.ones_like(everything, dtype=torch.bool).scatter_(1, classes, value=False)
        return everything[kept].view(len(classes), -1)

    def _base_queries(self, indices: Tensor, base_ids: Tensor) -> tuple[Tensor, Tensor]:
        assert self.base is not None
        count = self.shape.base_queries
        y = (uniform(self.key, indices, _BASE_CLASSES, count) * base_ids.shape[1]).long()
        attempt = 0
        while True:
            sizes = self.base.counts[base_ids.gather(1, y)]
            rank = times_before(y)
            if not bool((rank >= sizes).any()):
                break
            attempt += 1
            stream = _BASE_CLASSES + (attempt << 20)
            fresh = (uniform(self.key, indices, stream, count) * base_ids.shape[1]).long()
            y = torch.where(rank >= sizes, fresh, y)
        low = self.base.offsets[base_ids.gather(1, y)]
        return distinct_integers(self.key, indices, _BASE_IMAGES, low, sizes), y


def task_key(fingerprint: str, seed: int, purpose: str) -> int:
    """The key of a stream of tasks; `purpose` keeps training, selection and evaluation apart."""
    return make_key("tasks", fingerprint, seed, purpose)


def gather(index: EpisodeIndex, novel: Tensor, base: Tensor | None, shape: EpisodeShape) -> Episode:
    """Look the rows up.

    Args:
        index: T tasks.
        novel: (n, ...) features or images of the novel split, on any device.
        base: (m, ...) of the base split, or None.
        shape: what `index` was drawn with.
    """
    device = novel.device
    query = _rows(novel, index.query)
    if base is not None and index.base_query.shape[1]:
        query = torch.cat([query, _rows(base, index.base_query)], dim=1)
    support_y = torch.arange(shape.ways, device=device).repeat_interleave(shape.shots)
    evidence = Evidence.trusted(
        support_x=_rows(novel, index.support),
        support_y=support_y.expand(len(index.support), -1),
        query_x=query,
        ways=shape.ways,
        base_ids=None if index.base_ids is None else _moved(index.base_ids, device),
        task_ids=index.task_ids.to(device, copy=True),
        joint=shape.base_queries > 0,
    )
    return Episode.trusted(evidence, index.query_y.to(device, copy=True))


def _moved(ids: Tensor, device: torch.device) -> Tensor:
    """A copy; rows that are one row by their form stay so, which tells that all tasks have the same."""
    if ids.stride(0) == 0:
        return ids[:1].to(device, copy=True).expand(len(ids), -1)
    return ids.to(device, copy=True)


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """`x[index]`, (T, k) -> (T, k, ...), by whole rows, which takes a third of the time."""
    return x.index_select(0, index.to(x.device).flatten()).unflatten(0, index.shape)
