"""The settings of a run: what the command line says, and the job that it comes to."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pyro_sib.backbones import BACKBONES
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.job.trained import decided
from pyro_sib.experiments.options.data import DataOptions
from pyro_sib.experiments.options.evaluation import EvaluationOptions
from pyro_sib.experiments.options.learner import LearnerOptions, ResolvedLearner
from pyro_sib.experiments.options.machine import MachineOptions, check_device
from pyro_sib.experiments.options.network import NetworkOptions, ResolvedNetwork
from pyro_sib.experiments.options.tasks import ResolvedTasks, TaskOptions
from pyro_sib.experiments.options.training import ResolvedTraining, TrainingOptions
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.features.network_card import NetworkCard, read_card
from pyro_sib.features.outside import OUTSIDE, checked_size
from pyro_sib.inference import BASELINES, LEARNERS, GuideSettings
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.settings import LearnerSettings
from pyro_sib.inference.settings.card import SHIPPED, LearnerCard, read_learner_card
from pyro_sib.inference.settings.shipped_learners import named_learner
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS
from pyro_sib.objective import ObjectiveWeights, usual_kl_weight
from pyro_sib.on_demand import Registry
from pyro_sib.tasks.shape import POWER

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunSettings(
    MachineOptions, EvaluationOptions, TrainingOptions, LearnerOptions, NetworkOptions, DataOptions, TaskOptions
):
    """Learn a few-shot classifier by empirical Bayes with synthetic gradients, and evaluate it.

    Without a data set it runs on a synthetic image world that it generates itself.
    """

    # The fields of the last of the classes above come first.

    out: Path | None = None
    """Where results go; runs/SETTING-DATA-..., unless given."""

    def resolved(self) -> "Job":
        """All defaults filled in, all names and sizes checked, before anything is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        given = vars(self)
        if self.learner is not None:
            name = self._learner_name(self.learner)
            card = read_learner_card(name)
            given = given | decided(self, name, card) | {"compare": False, "learner": name}
            self._check_kind(card)
        elif self.setting is None:
            raise InputError("--setting is missing; choose standard or lwof, or give a --learner")
        job = RunSettings(**given)._filled()
        job.check()
        return job

    def _filled(self) -> "Job":
        iterations = said(self.iterations, 1000 if self.source == "synthetic" else 60_000)
        LEARNERS.require("guide", self.guide)
        short = iterations < 20_000
        prior = said(self.prior, "mixture" if self.joint else "diagonal")
        card = None if self.network is None else self._card(self.network)
        own_coordinates = LEARNERS.declared(self.guide, "coordinates")
        for option in ("coordinates", "power") if not own_coordinates else ():
            if getattr(self, option) is not None:
                raise InputError(
                    f"--{option} {getattr(self, option)}: {self.guide} sees the features themselves, and "
                    f"not coordinates of each task; leave it out, or choose --guide gaussian-mixture"
                )
        filled = {
            "backbone": self.backbone if card is None else card.backbone,
            "image_size": said(
                self.image_size if card is None else card.image_size, 84 if self.from_folder else 32
            ),
            "picture_fit": said(self.picture_fit, "crop" if self.network in OUTSIDE else "squash"),
            "pretrain_epochs": said(self.pretrain_epochs, 60 if self.from_folder else 10),
            "iterations": iterations,
            "epochs": said(self.epochs, min(12 if short else 60, iterations)),
            "learning_rate": said(self.learning_rate, 3e-3 if short and not self.joint else 1e-3),
            "schedule": said(self.schedule, "cosine" if short else "step"),
            "synthetic_gradient": said(self.synthetic_gradient, GuideSettings.synthetic_gradient),
            "prior": prior,
            "steps": said(LEARNERS.declared(self.guide, "fixed_steps"), self.steps),
            "initializer": LEARNERS.declared(self.guide, "fixed_initializer") or self.initializer,
            "train_query_balance": said(self.train_query_balance, self.query_balance),
            "train_ways": None if self.train_ways == self.ways else self.train_ways,
            "kl_weight": said(self.kl_weight, usual_kl_weight(prior)),
            "coordinates": said(self.coordinates, 40) if own_coordinates else None,
            "power": said(self.power, POWER) if own_coordinates else None,
        }
        return Job(**vars(self) | filled | {"out": said(self.out, Path("runs") / self._name(filled))})

    def _name(self, filled: dict[str, Any]) -> str:
        """Of the folder."""
        name = f"{self.setting}-{self.source}-{self.ways}way-{self.shots}shot-{self.guide}-K{filled['steps']}"
        if self.learner is not None:
            own = self.learner if self.learner in SHIPPED else Path(self.learner).resolve().parent.name
            of = f"-{Path(self.network).stem}" if self.network else ""
            name = f"learner-{own}{of}-{name}"
        held = f"-{self.hold_out_classes}held" if self.hold_out_classes else ""
        trained = f"-trained-{filled['train_ways']}way" if filled["train_ways"] else ""
        trained += f"-{self.train_images}-images" if self.train_images != "seen" else ""
        return f"{name}-{filled['prior']}{held}{trained}-seed{self.seed}"

    def _learner_name(self, name: str) -> str:
        """Of a learner, in full."""
        return named_learner(
            name,
            shots=self.shots,
            setting=self.setting,
            synthetic_gradient=self.synthetic_gradient,
            steps=self.steps,
        )

    def _check_kind(self, card: LearnerCard) -> None:
        """Refuse images for a learner of features, and the other way round."""
        if card.any_features and (card.pictures or self.features or self.network):
            return
        if (self.features is None) != (card.pictures is not None):
            more = ", or --network for images" if card.any_features else ""
            kinds = (f"features; give --features{more}", "images; leave --features out")
            raise InputError(f"--learner {self.learner} takes {kinds[card.pictures is not None]}")

    def _card(self, network: str) -> NetworkCard:
        """Of the named network, if these settings can have it."""
        if self.features:
            raise InputError("--network needs images, but --features gives features; drop one of them")
        card = read_card(network)
        if network in OUTSIDE:
            size = checked_size(network, said(self.image_size, card.image_size))
            return replace(card, image_size=size)
        if self.image_size not in (None, card.image_size):
            raise InputError(
                f"--network {network} is of images of {card.image_size} pixels; "
                f"leave out --image-size {self.image_size}"
            )
        return card


@dataclass(frozen=True, kw_only=True)
class Job(ResolvedTraining, ResolvedLearner, ResolvedNetwork, ResolvedTasks, RunSettings):
    """The settings of a run with nothing left open, as `RunSettings.resolved` gives them."""

    out: Path = field()

    def check(self) -> None:
        """Refuse what cannot be done, before anything is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if self.joint and not LEARNERS.declared(self.guide, "serves_joint"):
            able = ", ".join(name for name in LEARNERS if LEARNERS.declared(name, "serves_joint"))
            raise InputError(f"--guide {self.guide} cannot serve --setting lwof; choose standard, or one of {able}")
        parts: tuple[tuple[str, str, Registry], ...] = (
            ("prior", self.prior, PRIORS),
            ("backbone", self.backbone, BACKBONES),
            ("initializer", self.initializer, INITIALIZERS),
            ("synthetic gradient", self.synthetic_gradient, SYNTHETIC_GRADIENTS),
        )
        for kind, value, known in parts:
            known.require(kind, value)
        if self.train_ways is not None:
            self.check_any_ways(self.ways, self.train_ways)
        self.check_data()
        self._check_tuning()
        self.check_training()
        if self.novel_share and not self.joint:
            raise InputError("--novel-share is for tasks of novel and base queries; add --setting lwof")
        asked = f"--posterior-tasks {self.posterior_tasks}"
        if self.posterior_tasks and self.coordinates:
            raise InputError(f"{asked}: {self.guide} has weights of each task's own coordinates; leave it out")
        if self.posterior_tasks and self.guide in BASELINES:
            raise InputError(f"{asked}: {self.guide} has no density over weights; leave it out")
        if self.posterior_tasks and not self.draws:
            raise InputError(f"{asked} with --draws 0: 1 or more draws are needed")
        if self.train_only and self.posterior_tasks:
            raise InputError(f"{asked} with --train-only, which measures nothing; leave one out")
        check_device(self.device)
        self.check_tasks()
        self.guide_settings(), self.weights()

    @property
    def outside(self) -> str | None:
        """Name of the feature network where it is one that others trained."""
        if self.learner is None or self.network is not None:
            return self.network if self.network in OUTSIDE else None
        if self.features is not None:
            return None
        pictures = read_learner_card(self.learner).pictures
        return None if pictures is None or pictures.outside is None else pictures.outside.name

    def _check_tuning(self) -> None:
        if self.flip_features and self.features:
            raise InputError("--flip-features needs images, but --features gives features; drop one of them")
        if self.tune_features and self.network in OUTSIDE:
            raise InputError(f"--network {self.network} is used as it is; leave --tune-features out")
        if self.tune_features and self.features:
            raise InputError("--tune-features needs images, but --features gives features; drop one of them")
        if self.tune_features and self.flip_features:
            raise InputError("--tune-features trains on images as they are, not --flip-features; leave one out")
        if self.tune_features and self.propagation:
            raise InputError("--tune-features trains on images, which --propagation cannot move; leave one out")

    def weights(self) -> ObjectiveWeights:
        """Of the ELBO's two terms."""
        with renamed(kl="kl_weight"):
            return ObjectiveWeights(self.kl_weight, self.psi_from_base, self.iterations * self.batch_size)

    def learner_settings(self) -> LearnerSettings:
        """Of the program."""
        return LearnerSettings(
            guide=self.guide,
            prior=self.prior,
            ways=self.trained_ways,
            joint=self.joint,
            inside=self.guide_settings(),
            predictor_scale=self.predictor_scale,
            coordinates=self.coordinates or 0,
            power=self.power or 1.0,
            weights=self.weights(),
            seed=self.seed,
        )


def said(value: Value | None, otherwise: Value) -> Value:
    """What the user said, or the default."""
    return otherwise if value is None else value
