"""The composition root: the one place that joins prior, likelihood, model and guide into a Pyro program."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from experiments.settings import RunSettings
from inference import Baseline, Guide, TaskForm, learner_named
from inference.evaluation import TaskSource
from inference.initializers import needs_base_ids
from models import PRIORS, CosineCategorical, EmpiricalBayes, Prior, make_prior
from pyro_sib.augment import normalize
from pyro_sib.counter_rng import make_key
from pyro_sib.data import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL, DataSet
from pyro_sib.episodes import EpisodeSampler, EpisodeShape, task_key
from pyro_sib.registration import register
from pyro_sib.types import Episode


@dataclass(frozen=True)
class Program:
    """A model and a guide with the modules that hold their parameters.

    A baseline is its own model, and a guide without sites; it has neither prior nor likelihood.
    """

    model: Callable[[Episode], object]
    guide: Guide | Baseline
    prior: Prior | None
    likelihood: CosineCategorical | None

    def modules(self) -> dict[str, nn.Module]:
        """By the names under which Pyro knows their parameters."""
        parts = {"prior": self.prior, "likelihood": self.likelihood, "guide": self.guide}
        return {name: part for name, part in parts.items() if part is not None}


def build_program(
    settings: RunSettings,
    features: int,
    base_weights: Tensor | None,
    device: torch.device,
) -> Program:
    """Build the program of these settings with fresh parameters drawn from the seed.

    Args:
        settings: resolved.
        features: D.
        base_weights: (B, D) unit weights of the base classes, or None.
        device: where the parameters live.
    """
    weights = settings.weights()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make_key("weights", settings.seed) & (2**63 - 1))
        assert settings.prior is not None
        form = TaskForm(
            features, settings.trained_ways, settings.joint, 0 if base_weights is None else len(base_weights)
        )
        learner = learner_named(settings.guide)
        if issubclass(learner, Baseline):
            baseline = learner(form, base_weights, weights).to(device)
            return Program(baseline.model, baseline, None, None)
        prior = make_prior(settings.prior, features, base_weights).to(device)
        likelihood = CosineCategorical(settings.predictor_scale).to(device)
        guide = learner(settings.guide_settings(features), form, prior, likelihood, weights).to(device)
    return Program(EmpiricalBayes(prior, likelihood, weights), guide, prior, likelihood)


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


def wants_base_ids(settings: RunSettings) -> bool:
    """Whether tasks of these settings must name their base classes: for queries of them, the prior, or lambda."""
    assert settings.prior is not None
    learner = learner_named(settings.guide)
    has_lambda = learner.takes_initializer or learner.fixed_initializer is not None
    asked = has_lambda and needs_base_ids(settings.initializer)
    return settings.joint or PRIORS[settings.prior].needs_base_classes or asked


def selection_split(data: DataSet) -> str:
    """The split on whose tasks the best epoch is chosen: val, or base_train where the data has no val."""
    return VAL if VAL in data.splits else BASE_TRAIN


def make_sources(data: DataSet, settings: RunSettings, split: str, device: torch.device) -> dict[str, TaskSource]:
    """Sources of the training, selection and evaluation tasks, by purpose: train, select, evaluate [, second].

    `second` holds evaluation tasks of the second query balance, where one is asked for.

    Raises:
        InputError: a missing split, or one too small for these tasks.
    """
    with_base = wants_base_ids(settings)

    def source(purpose: str, novel: str, base: str, seed: int, shape: EpisodeShape) -> TaskSource:
        key = task_key(data.fingerprint, seed, purpose)
        base_split = data.split(base) if with_base else None
        sampler = EpisodeSampler(data.split(novel), base_split, shape, key, f"{data.name} {novel}")
        rows = None if base_split is None or not settings.joint else base_split.x.to(device)
        return TaskSource(sampler, sampler.novel.x.to(device), rows, settings.propagator())

    chosen_by = selection_split(data)
    held_out = {VAL: BASE_VAL, TEST: BASE_TEST, BASE_TRAIN: BASE_TRAIN}
    trained_on, evaluated_on = settings.train_shape(), settings.shape()
    found = {
        "train": source("train", BASE_TRAIN, BASE_TRAIN, settings.seed, trained_on),
        "select": source("select", chosen_by, held_out[chosen_by], 0, trained_on),
        "evaluate": source(f"evaluate {split}", split, held_out[split], 0, evaluated_on),
    }
    if settings.second_balance is not None:
        second = settings.shape(settings.second_balance)
        found["second"] = source(f"evaluate {split}", split, held_out[split], 0, second)
    return found
