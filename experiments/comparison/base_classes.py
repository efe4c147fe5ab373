"""What comparators know of the base classes: their features' mean and their pooled within-class covariance."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.data import Split
from pyro_sib.experiments.comparison.preprocessing import centred_on_base


@dataclass(frozen=True)
class BaseClasses:
    """Base classes' features; each statistic of them is computed once, when it is first asked for.

    Attributes:
        split: of base classes, as features.
        device: of the statistics.
    """

    split: Split
    device: torch.device

    @cached_property
    def mean(self) -> Tensor:
        """(D,) mean of the features."""
        return self.split.x.mean(0).to(self.device)

    @cached_property
    def centre(self) -> Tensor:
        """(D,) mean of the unit features."""
        total = torch.stack([unit(rows).sum(0) for rows in self._by_class()]).sum(0)
        return (total / len(self.split.x)).to(self.device)

    @cached_property
    def within(self) -> Tensor:
        """(D, D) pooled covariance, around their class means, of the features as `centred_on_base` makes them."""
        x, centre = self.split.x, self.centre.to(self.split.x.device)
        scatter = x.new_zeros(x.shape[1], x.shape[1])
        for rows in self._by_class():
            rows = centred_on_base(rows, centre)
            rows = rows - rows.mean(0)
            scatter.addmm_(rows.mT, rows)
        freedom = len(x) - len(self.split.class_names)
        return (scatter / max(freedom, 1)).to(self.device)

    def _by_class(self) -> list[Tensor]:
        """Each class's (n_c, D) features; class by class, no second copy of them all is made."""
        return [rows for rows in self.split.x.split(self.split.counts.tolist()) if len(rows)]
