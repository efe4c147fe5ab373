"""What a benchmark measures on: sizes, made-up features of those sizes, and the program that serves them."""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.data import DataSet, Split
from pyro_sib.data.names import BASE_TRAIN, BASE_VAL, VAL
from pyro_sib.experiments.job.settings import Job, RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.inference.program import Program, build_program
from pyro_sib.tasks.source import TaskSource
from pyro_sib.types import Episode, Evidence

BASE_CLASSES, NOVEL_CLASSES = 64, 16
"""mini-ImageNet's base and validation classes."""
_BASE_ROWS, _NOVEL_ROWS = 50, 600


@dataclass(frozen=True)
class TaskCase:
    """Sizes of one measurement: T tasks of N ways, S shots and Q queries in all, K steps, D features.

    Joint tasks have Q more queries of the base classes.
    """

    tasks: int = 8
    ways: int = 5
    shots: int = 1
    queries: int = 75
    steps: int = 3
    features: int = 256
    joint: bool = False

    def params(self) -> dict[str, Any]:
        """The sizes under the letters of the paper, for a row."""
        letters = {"tasks": "tasks", "ways": "N", "shots": "S", "queries": "Q", "steps": "K", "features": "D"}
        found = asdict(self)
        return {letter: found[name] for name, letter in letters.items()}

    def settings(self) -> Job:
        """Of a run with these sizes and all else at its default."""
        per_class = -(-self.queries // self.ways)
        setting = RunSettings(
            setting="lwof" if self.joint else "standard",
            ways=self.ways,
            shots=self.shots,
            queries=per_class,
            steps=self.steps,
            data_seed=0,
            # The peers write the KL's gradient out for one diagonal Gaussian alone.
            kl_weight=0.0 if self.joint else None,
        )
        return setting.resolved()

    def program(self, device: torch.device) -> Program:
        """The Pyro program of such a run, its parameters fresh."""
        generator = torch.Generator().manual_seed(0)
        base_weights = unit(torch.randn(BASE_CLASSES, self.features, generator=generator))
        return build_program(self.settings().learner_settings(), self.features, base_weights, device)

    def episode(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Episode:
        """A batch of standard training tasks: Gaussian clusters."""
        generator = torch.Generator().manual_seed(1)
        query_y = (torch.arange(self.queries) % self.ways).sort().values.expand(self.tasks, -1)
        support_y = torch.arange(self.ways).repeat_interleave(self.shots).expand(self.tasks, -1)
        centres = torch.randn(self.tasks, self.ways, self.features, generator=generator, dtype=dtype)
        support_x, query_x = (_around(centres, y, generator).to(device) for y in (support_y, query_y))
        ids = torch.arange(self.tasks, device=device)
        evidence = Evidence(support_x, support_y.to(device), query_x, self.ways, task_ids=ids)
        return Episode(evidence, query_y.to(device))

    def source(self, device: torch.device) -> TaskSource:
        """Evaluation tasks as a run has them, of clusters in the place of mini-ImageNet's features."""
        generator = torch.Generator().manual_seed(2)
        splits = {
            BASE_TRAIN: self._split(BASE_CLASSES, _BASE_ROWS, generator),
            BASE_VAL: self._split(BASE_CLASSES, _BASE_ROWS, generator),
            VAL: self._split(max(NOVEL_CLASSES, self.ways), _NOVEL_ROWS, generator),
        }
        data = DataSet("clusters", splits, "none", f"clusters of {self.features} features")
        return make_sources(data, self.settings(), VAL, device)["evaluate"]

    def _split(self, classes: int, rows: int, generator: torch.Generator) -> Split:
        centres = torch.randn(1, classes, self.features, generator=generator)
        y = torch.arange(classes).repeat_interleave(rows)
        return Split(_around(centres, y[None], generator)[0], y, tuple(map(str, range(classes))))


def _around(centres: Tensor, y: Tensor, generator: torch.Generator) -> Tensor:
    """(T, N, D) centres, (T, P) classes -> (T, P, D) points about them, so far that tasks are not easy."""
    index = y[..., None].expand(*y.shape, centres.shape[-1])
    noise = torch.randn(index.shape, generator=generator, dtype=centres.dtype)
    return centres.gather(1, index) + 4 * noise
