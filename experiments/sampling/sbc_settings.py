"""The settings of simulation-based calibration: one typed dataclass, which is the command line as well."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.names import listed
from pyro_sib.inference.exact.settings import ChainSettings
from pyro_sib.scores.summary import SIMULATIONS

METHODS = ("nuts", "mean-field-oracle", "exact-gradient")
"""What approximates p(w | y) here: all see the labels y that were simulated, and nothing else is simulated."""


@dataclass(frozen=True)
class SBCSettings:
    """Simulation-based calibration of NUTS, and variational SBC of guides, on data that the model simulates."""

    model: Literal["linear", "cosine"] = "cosine"
    """linear: a Gaussian likelihood over orthogonal features, whose posterior is a diagonal Gaussian; cosine: the
    few-shot classifier's likelihood, whose posterior is none."""
    methods: Annotated[tuple[str, ...], tyro.conf.arg(help=f"{listed(METHODS)}, or several.")] = METHODS
    replications: int = 200
    """Simulated tasks, each with a w of its own from the prior."""
    features: int = 6
    """D."""
    ways: int = 3
    """Classes of the cosine model (N)."""
    points: int = 12
    """Labels simulated for a task."""
    draws: int = 99
    """Posterior draws among which the truth is ranked."""
    thin: int = 3
    """NUTS keeps every so manieth draw."""
    warmup: int = 150
    """NUTS's warm-up."""
    fit_steps: int = 1500
    """Steps of the guides."""
    fit_draws: int = 16
    """Draws of w in a step of the guides."""
    narrow: float = 1.0
    """Multiply the guides' scales, and the distances of NUTS's draws from their mean, by this before they are
    checked: 0.5 plants a failure that the check must catch."""
    level: float = 0.01
    """Chance that a calibrated method fails, over all its quantities together."""
    seed: int = 0
    """Of everything that is drawn."""
    out: Path | None = None
    """Where results go; runs/sbc-..., unless given."""

    def resolved(self) -> "SBCJob":
        """All defaults filled in, everything checked.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise InputError("--methods: name at least one method, each once")
        for name in self.methods:
            if name not in METHODS:
                raise InputError(f"no method {name!r} for this check; choose from {', '.join(METHODS)}")
        check_numbers(self)
        if self.model == "linear" and self.points < self.features:
            raise InputError(
                f"--points {self.points}: orthogonal features need at least --features {self.features}"
            )
        if self.quantities > self.level * SIMULATIONS / 2:
            raise InputError(
                f"{self.quantities} quantities (--features times --ways, and one) are more than {SIMULATIONS} "
                f"simulated ECDFs can test at --level {self.level}; lower --features or raise --level"
            )
        if self.points < self.ways:
            raise InputError(f"--points {self.points}: at least --ways {self.ways} are needed")
        self.chains()
        name = f"sbc-{self.model}-{self.replications}-narrow{self.narrow:g}-seed{self.seed}"
        return SBCJob(**vars(self) | {"out": self.out or Path("runs") / name})

    @property
    def quantities(self) -> int:
        """Every weight, and the log likelihood."""
        return self.features * (1 if self.model == "linear" else self.ways) + 1

    def chains(self) -> ChainSettings:
        """NUTS's, in one chain."""
        return ChainSettings(1, self.warmup, self.draws * self.thin, seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class SBCJob(SBCSettings):
    """With nothing left open."""

    out: Path = field()
