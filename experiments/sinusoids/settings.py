"""The settings of few-shot regression: one typed dataclass, which is the command line as well."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pyro_sib.data.worlds.sinusoid_shape import SinusoidShape
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.inference import GuideSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.objective import ObjectiveWeights

EPOCHS = 10
VALUE_GUIDES = ("maml", "maml-first-order", "sib", "init-only", "exact-gradient")
"""Guides that take labels as they are, values or classes."""


@dataclass(frozen=True)
class RegressionSettings:
    """Learn sinusoids from a few labeled points each, by empirical Bayes with a Gaussian likelihood."""

    guide: tuple[str, ...] = VALUE_GUIDES
    """Guides to train, one after another; the figure shows the first."""
    initializer: Literal["global", "ridge"] = "global"
    """lambda: global (no data) or ridge (ridge regression on the labeled points)."""
    prior: Literal["diagonal", "isotropic"] = "diagonal"
    """p(w)."""
    shots: int = 10
    """Labeled points in a task."""
    queries: int = 20
    """Unlabeled points in a task."""
    steps: int = 3
    """Steps of the guides (K)."""
    step_size: float = 0.3
    """First value of eta, which is trained."""
    step_samples: int = 0
    """Draws of w inside a step; 0 takes the gradient at q's mean and leaves its scale to lambda."""
    initial_scale: float = 0.1
    """First standard deviation of q."""
    kl_weight: float | None = None
    """Weight of the KL per number of w against a query's mean log likelihood; (2 frequencies + 1) / queries, the
    literal eq. (4), unless given."""
    frequencies: int = 10
    """Of the features' sines and cosines."""
    gains: bool = True
    """Learn in stage 1 how large each wave is; all of one size otherwise."""
    iterations: int = 1000
    """SVI steps of each guide."""
    batch_size: int = 8
    """Tasks a step."""
    learning_rate: float = 3e-2
    """Adam's first learning rate."""
    select_tasks: int = 200
    """Tasks by which the best epoch is chosen."""
    eval_tasks: int = 1000
    """Held-out tasks."""
    seed: int = 0
    """Of training tasks, weights and draws; f and the held-out tasks are the same for every seed."""
    out: Path | None = None
    """Where results go; runs/regression-..., unless given."""

    def resolved(self) -> "RegressionJob":
        """All defaults filled in, everything checked.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if not self.guide or len(set(self.guide)) < len(self.guide):
            raise InputError("--guide: name at least one guide, each once")
        for name in self.guide:
            if name not in VALUE_GUIDES:
                raise InputError(f"no guide {name!r} for regression; choose from {', '.join(VALUE_GUIDES)}")
        check_numbers(self)
        self.shape(), self.train_settings(), self.guide_settings()
        literal = (2 * self.frequencies + 1) / self.queries
        weight = literal if self.kl_weight is None else self.kl_weight
        with renamed(kl="kl_weight"):
            ObjectiveWeights(weight)
        name = f"regression-{self.shots}shot-K{self.steps}-{self.initializer}-seed{self.seed}"
        return RegressionJob(**vars(self) | {"kl_weight": weight, "out": self.out or Path("runs") / name})

    def shape(self) -> SinusoidShape:
        """Of training and held-out tasks alike."""
        return SinusoidShape(self.shots, self.queries)

    def guide_settings(self) -> GuideSettings:
        """Inside phi."""
        return alike(GuideSettings, self)

    def train_settings(self) -> TrainSettings:
        """The budget of SVI."""
        return alike(TrainSettings, self, epochs=min(EPOCHS, max(self.iterations, 1)), schedule="cosine")


@dataclass(frozen=True, kw_only=True)
class RegressionJob(RegressionSettings):
    """With nothing left open."""

    kl_weight: float = field()
    out: Path = field()

    def weights(self) -> ObjectiveWeights:
        """Of the ELBO's two terms."""
        return ObjectiveWeights(self.kl_weight)
