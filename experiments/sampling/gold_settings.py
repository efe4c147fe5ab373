"""The settings of the gold standard: one typed dataclass, which is the command line as well."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import read_settings
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.settings import Job
from pyro_sib.experiments.options.data import MovedOptions
from pyro_sib.inference import BASELINES
from pyro_sib.inference.exact.settings import ChainSettings, objective_power

NAMED_TARGETS = ("literal", "objective")
LARGEST_POWER = 1e6
"""Of a likelihood: beyond it the density is a point to double precision."""


@dataclass(frozen=True)
class GoldSettings(MovedOptions):
    """NUTS on the weights of a finished run's evaluation tasks, and the guide's posterior beside it.

    In LwoF both have the base classes' weights at the means of their posteriors.
    """

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    tasks: int = 50
    """Evaluation tasks 0 .. tasks - 1; more of them later only adds to those that are done."""
    targets: tuple[str, ...] = ("literal",)
    """Posteriors to sample: literal (the likelihood as it is), objective (the likelihood to the power
    N D / (P kl_weight) that the run's objective implies for P labels), or any power."""
    chains: int = 2
    """NUTS chains, 2 or more for R-hat."""
    warmup: int = 100
    """Iterations of a chain in which the step size adapts."""
    samples: int = 400
    """Draws kept of a chain."""
    draws: int = 300
    """Draws of the guide, and of the evidence's estimate."""
    seed: int = 0
    """Of all draws."""
    out: Path | None = None
    """Where results go; RUN/gold, unless given."""

    @property
    def folder(self) -> Path:
        """Where results go."""
        return self.out or self.run / "gold"

    def check(self) -> Job:
        """Refuse what cannot be done, before anything is read but the run's configuration, which is returned.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise InputError("--targets: name at least one, each once")
        self.chain_settings()
        run = read_settings(self.run).resolved()
        if run.guide in BASELINES:
            raise InputError(
                f"{self.run} trained {run.guide}, which has no weights w to sample; name a guide's run"
            )
        for target in self.targets:
            power_of(target, run, 1, (1, 1))
        return run

    def chain_settings(self) -> ChainSettings:
        """Of NUTS."""
        return ChainSettings(self.chains, self.warmup, self.samples, seed=self.seed)

    def identity(self) -> dict[str, Any]:
        """What determines a task's numbers beside the run and the target."""
        return {name: getattr(self, name) for name in ("chains", "warmup", "samples", "draws", "seed")}


def power_of(target: str, run: Job, observed: int, shape: tuple[int, int]) -> float:
    """The likelihood's power under a target, for a number of observed labels and weights of shape (N, D).

    Raises:
        InputError: it is neither a name nor a positive number, or the run's objective implies none.
    """
    if target == "literal":
        return 1.0
    if target == "objective":
        weights = run.weights()
        if weights.kl == 0:
            raise InputError("the run has kl_weight 0: its objective implies no posterior; name --targets literal")
        return objective_power(weights, observed, shape)
    try:
        power = float(target)
    except ValueError:
        power = 0.0
    if not 0 < power <= LARGEST_POWER:
        raise InputError(
            f"--targets {target}: literal, objective or a positive power, of {LARGEST_POWER:g} or less, is needed"
        )
    return power
