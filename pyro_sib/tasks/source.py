"""Where episodes come from: a sampler and the rows that it points into."""

from dataclasses import dataclass

from torch import Tensor

from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.tasks.episodes import EpisodeIndex, EpisodeSampler, gather
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.types import Episode

CACHE = 6 * 2**20
"""Bytes of features that a batch of tasks may have: about a core's share of the cache."""
SMALLEST_BATCH, LARGEST_BATCH = 16, 100


@dataclass(frozen=True)
class TaskSource:
    """Where episodes come from: a sampler and the features (or images) that it points into.

    Attributes:
        sampler: of index tensors.
        novel: (n, ...) rows of the sampler's novel split, on the device of the computation.
        base: (m, ...) rows of its base split, or None.
        propagation: what becomes of each task's features before anything sees them, or None.
        coordinates: in which the tasks are given after that, or None for the features themselves.
    """

    sampler: EpisodeSampler
    novel: Tensor
    base: Tensor | None
    propagation: Propagation | None = None
    coordinates: TaskCoordinates | None = None

    def episodes(self, indices: Tensor) -> Episode:
        """(T,) task numbers -> those tasks."""
        return self._gathered(self.sampler.sample(indices))

    def span(self, first: int, last: int) -> Episode:
        """Tasks `first` .. `last` - 1, sooner than `episodes` where such spans follow one another."""
        return self._gathered(self.sampler.span(first, last))

    def _gathered(self, index: EpisodeIndex) -> Episode:
        episode = gather(index, self.novel, self.base, self.sampler.shape)
        return self.prepared(episode)

    def prepared(self, episode: Episode) -> Episode:
        """Tasks of the features as a learner is given them."""
        for step in (self.propagation, self.coordinates):
            episode = episode if step is None else step(episode)
        return episode

    def fitting_batch(self) -> int:
        """Tasks whose features stay in a processor's cache while K steps pass over them; many on a GPU."""
        if self.novel.device.type != "cpu":
            return LARGEST_BATCH
        shape = self.sampler.shape
        rows = shape.ways * (shape.shots + shape.queries) + shape.base_queries
        size = rows * self.novel[0].numel() * self.novel.element_size()
        return max(SMALLEST_BATCH, min(LARGEST_BATCH, CACHE // size))

    def batch(self, iteration: int, size: int) -> Episode:
        """The iteration's batch of training tasks."""
        return self.span(iteration * size, (iteration + 1) * size)
