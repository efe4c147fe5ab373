"""The composition root: the one place that joins prior, likelihood, model and guide into a Pyro program."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_sib.counter_rng import make_key
from pyro_sib.errors import InputError, argument
from pyro_sib.features.augment import normalize
from pyro_sib.inference import Baseline, Guide, learner_named
from pyro_sib.inference.initializers import needs_base_ids
from pyro_sib.inference.settings import LearnerSettings, TaskForm
from pyro_sib.models import PRIORS, CosineCategorical, EmpiricalBayes, LinearCategorical, Prior, make_prior
from pyro_sib.registration import register
from pyro_sib.tasks.coordinates import TaskCoordinates
from pyro_sib.types import Episode


def wants_base_ids(settings: LearnerSettings) -> bool:
    """Whether tasks must name their base classes: for queries of them, for the prior, or for lambda."""
    learner = learner_named(settings.guide)
    named = settings.inside.initializer if learner.takes_initializer else learner.fixed_initializer
    asked = named is not None and needs_base_ids(named)
    return settings.joint or PRIORS[settings.prior].needs_base_classes or asked


@dataclass(frozen=True)
class Program:
    """A model and a guide with the modules that hold their parameters.

    A baseline is its own model, and a guide without sites; it has neither prior nor likelihood.
    """

    model: Callable[[Episode], object]
    guide: Guide | Baseline
    prior: Prior | None
    likelihood: CosineCategorical | LinearCategorical | None

    def modules(self) -> dict[str, nn.Module]:
        """By the names under which Pyro knows their parameters."""
        parts = {"prior": self.prior, "likelihood": self.likelihood, "guide": self.guide}
        return {name: part for name, part in parts.items() if part is not None}


def build_program(
    settings: LearnerSettings, features: int, base_weights: Tensor | None, device: torch.device
) -> Program:
    """Build the program of these settings, with first parameters drawn from the seed.

    Args:
        settings: of the learner.
        features: D; without meaning for a learner of `coordinates`.
        base_weights: (B, D) unit weights of the base classes, or None.
        device: where the parameters live.

    Raises:
        InputError: an unknown name, a part that needs base classes where there are none, or a guide that takes
            coordinates without them.
    """
    _check_coordinates(settings)
    if settings.coordinates:
        features, base_weights = settings.coordinates + 1, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make_key("weights", settings.seed) & (2**63 - 1))
        classes = 0 if base_weights is None else len(base_weights)
        form, learner = TaskForm(features, settings.ways, settings.joint, classes), learner_named(settings.guide)
        if issubclass(learner, Baseline):
            baseline = learner(form, base_weights, settings.weights).to(device)
            return Program(baseline.model, baseline, None, None)
        prior = make_prior(settings.prior, features, base_weights).to(device)
        likelihood: CosineCategorical | LinearCategorical = (
            LinearCategorical() if settings.coordinates else CosineCategorical(settings.predictor_scale)
        )
        likelihood = likelihood.to(device)
        guide = learner(settings.inside, form, prior, likelihood, settings.weights).to(device)
    return Program(EmpiricalBayes(prior, likelihood, settings.weights), guide, prior, likelihood)


def coordinates_of(settings: LearnerSettings) -> TaskCoordinates | None:
    """In which a learner of these settings is given its tasks; None where it sees the features themselves."""
    return TaskCoordinates(settings.coordinates, settings.power) if settings.coordinates else None


def _check_coordinates(settings: LearnerSettings) -> None:
    takes = learner_named(settings.guide).coordinates
    if takes != bool(settings.coordinates):
        need = "needs tasks in coordinates of their own" if takes else "sees the features themselves"
        mend = (
            f"give {argument('coordinates')} 1 or more, as 40" if takes else f"leave {argument('coordinates')} at 0"
        )
        raise InputError(f"guide {settings.guide} {need}; {mend}")
    if settings.coordinates and settings.joint:
        raise InputError(f"guide {settings.guide} knows no base classes; leave {argument('joint')} out")


class FeatureNetwork(nn.Module):
    """f as a part of the program, for --tune-features: episodes of images -> episodes of features.

    Batch norm keeps its pretrained statistics, so that a task's features depend on its own images alone.

    Args:
        backbone: (n, 3, S, S) -> (n, D).
    """

    def __init__(self, backbone: nn.Module):
        super().__init__()
        # Pyro stores contiguous parameters; another memory format would be copied and never trained.
        self.backbone = backbone.to(memory_format=torch.contiguous_format).requires_grad_(True)

    def train(self, mode: bool = True) -> "FeatureNetwork":
        """Batch norm always in evaluation mode; gradients flow all the same."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """(T, M, 3, S, S) uint8 -> (T, M, D)."""
        return self.backbone(normalize(images.flatten(0, 1))).unflatten(0, images.shape[:2])

    def model(self, inner: Callable[[Episode], object]) -> Callable[[Episode], object]:
        """The model over episodes of images: f learns through the likelihood of the queries."""

        def model(episode: Episode) -> object:
            register("features", self)
            query = self(episode.evidence.query_x)
            support = query.new_zeros(*episode.evidence.support_y.shape, query.shape[-1])
            return inner(episode.with_features(support, query))

        return model

    def guide(self, inner: Guide | Baseline) -> Callable[[Episode], object]:
        """The guide over episodes of images: no gradient reaches f (footnote 3)."""

        def guide(episode: Episode) -> object:
            with torch.no_grad():
                evidence = episode.evidence
                embedded = episode.with_features(self(evidence.support_x), self(evidence.query_x))
            return inner(embedded)

        return guide
