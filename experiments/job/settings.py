"""The settings of a run: one typed dataclass, which is the command line as well."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
import tyro

from pyro_sib.backbones import BACKBONES
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.limits import check_numbers
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.features.network_file import NetworkCard, read_card
from pyro_sib.features.pretrain import PretrainSettings, choose_precision
from pyro_sib.inference import LEARNERS, Baseline, GuideSettings, SIBGuide, learner_named
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.learner_file import LearnerCard, read_learner_card
from pyro_sib.inference.program import LearnerSettings
from pyro_sib.inference.settings import first_scale
from pyro_sib.inference.steps.synthetic_gradients import SYNTHETIC_GRADIENTS
from pyro_sib.inference.training import TrainSettings
from pyro_sib.models import PRIORS
from pyro_sib.objective import KL_WEIGHT, ObjectiveWeights
from pyro_sib.tasks.episodes import EpisodeShape
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.tasks.query_balance import parse_balance

Value = TypeVar("Value")

_STAGE_1 = {name: f"pretrain_{name}" for name in ("epochs", "batch_size", "learning_rate", "weight_decay")}
"""What the settings of stage 1 that it checks are called here."""


@dataclass(frozen=True)
class RunSettings:
    """Learn a few-shot classifier by empirical Bayes with synthetic gradients, and evaluate it.

    Without a data set it runs on a synthetic image world that it generates itself.
    """

    setting: Literal["standard", "lwof"] | None = None
    """Classify queries among the novel classes (standard) or among base and novel ones (lwof); needed, unless a
    --learner says it."""
    learner: str | None = None
    """A trained learner to evaluate, the learner.safetensors of a run or one that comes with the project; nothing
    is trained then."""
    data: Literal["synthetic", "mini-imagenet", "folders"] = "synthetic"
    """Where the images come from: drawn, or read from --data-root (mini-imagenet and folders mean the same: results
    call the data what they are)."""
    data_root: Path | None = None
    """Folder of the images: csv lists with images/, pickles, or class folders."""
    features: Path | None = None
    """Your own features instead of images: .npz or .safetensors with train_x, train_y, val_x, val_y, ..."""
    split: Literal["val", "test"] | None = None
    """Classes to evaluate on; test where the data has it, unless said."""
    hold_out_classes: int = 0
    """Take so many of the base classes out of training and evaluate on them, in place of the data's own val and
    test: for choosing settings without a look at those."""

    backbone: str = "c64f"
    """Feature network: c64f, c128f, resnet12 or wrn-28-10."""
    network: str | None = None
    """A trained feature network in place of stage 1, a file or one that comes with the project: mini-imagenet-c64f,
    mini-imagenet-c128f, mini-imagenet-resnet12, and -held16 for those that do not know 16 base classes."""
    image_size: int | None = None
    """Pixels a side; 84 for images from --data-root and 32 for the synthetic world, unless said."""
    pretrain_epochs: int | None = None
    """Epochs of stage 1; 60 for images from --data-root, 10 for the synthetic world, unless said."""
    pretrain_batch_size: int = 64
    """Images a step in stage 1."""
    pretrain_learning_rate: float = 0.1
    """First learning rate of stage 1."""
    pretrain_schedule: Literal["cosine", "step"] = "cosine"
    """Learning rate of stage 1: to zero along a cosine, or in Gidaris & Komodakis's steps."""
    pretrain_weight_decay: float = 5e-4
    """Weight decay of stage 1."""
    pretrain_label_smoothing: float = 0.0
    """Probability that stage 1's targets spread evenly over all base classes."""
    pretrain_mixup: float = 0.0
    """Mix stage 1's images in pairs, by shares from Beta(this, this); 0 is off."""
    pretrain_colour: float = 0.0
    """Scale brightness, contrast and saturation of stage 1's images by up to 1 +- this."""
    pretrain_crop: float = 1.0
    """Least share of the area that a resized crop keeps in stage 1; 1 crops after padding by 8 of 84 pixels."""
    pretrain_rotation: float = 0.0
    """Weight of a second task in stage 1: by which multiple of 90 degrees an image was turned; 0 is off."""
    pretrain_averaging: float = 0.0
    """Take the moving average of stage 1's weights, of this decay a step; 0 takes the last step's."""
    pretrain_head_scale: float = 10.0
    """First scale of stage 1's cosine classifier."""
    pretrain_seed: int = 0
    """Of stage 1."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of stage 1's arithmetic; auto is bfloat16 on a GPU, and from 64 px on a processor that multiplies in it."""
    flip_features: bool = False
    """Average each image's features with those of its mirror image."""
    tune_features: bool = False
    """Train f on in stage 2 (Algorithm 1, line 12); needs images."""

    ways: int = 5
    """Novel classes in a task (N)."""
    train_ways: int | None = None
    """Novel classes in a training or selection task; as many as in the evaluation's, unless said. With others, xi
    and lambda must be ones that serve any number of classes."""
    shots: int = 1
    """Labeled examples of each novel class (S)."""
    queries: int = 15
    """Query images of each novel class; in lwof as many come from the base classes together."""
    query_balance: str = "balanced"
    """Of the novel queries over their classes: balanced, dirichlet:ALPHA for proportions drawn for each task, or
    mixed:ALPHA for tasks that are either with equal chances."""
    train_query_balance: str | None = None
    """The same for training and selection tasks; that of the evaluation, unless said."""
    second_balance: str | None = None
    """Evaluate on tasks of this balance as well."""
    propagation: float = 0.0
    """Move each feature of a task towards those like it, labeled or not, before anything sees it (embedding
    propagation): the strength, from 0 (off) to below 1."""
    guide: str = "sib"
    """q(w): sib; init-only (K = 0); maml, maml-first-order or meta-lstm (K steps on the labeled examples);
    neural-process, attentive-neural-process or gidaris-attention (no steps); mean-field (each task fitted to its
    labeled examples). Oracles that see the queries' labels: exact-gradient, mean-field-oracle. Baselines without
    a posterior: prototypical, matching, snail."""
    steps: int = 3
    """Steps (K), where the guide takes any."""
    initializer: str = "support"
    """lambda: support (class means of the labeled features), both (refined by the queries), attention (beside
    what they attend to among the base classes' weights), ridge (ridge regression on them), or global."""
    synthetic_gradient: str = "mlp"
    """xi: mlp (the paper's), equivariant (any number of classes), marginal (and sees how many queries each class
    has got), context (and sees what it made of the class's, the query's and the task's other logits), neighbours
    (and sees what each query's neighbours are taken for), or neighbours-marginal."""
    support_gradient: bool = False
    """Let the steps descend the labeled examples' loss too, with a learned weight."""
    step_size: float = 1.0
    """First value of eta."""
    learn_step_size: bool = True
    """Train eta, one for each step."""
    step_samples: int = 0
    """Draws of w inside a step; 0 takes the gradient at q's mean."""
    fit_steps: int = 200
    """Adam steps by which the mean-field guides fit each task."""
    initial_scale: float | None = None
    """First standard deviation of q; 0.01, or D^-1/2, the first width of a mixture's components, under that prior
    with its KL counted, unless said."""
    predictor_scale: float = 10.0
    """First scale of the cosine predictor."""
    kl_step: Literal["explicit", "implicit"] = "implicit"
    """The KL's part of a step: eq. (9) to the letter, or at its end point (stable at any weight)."""
    prior: str | None = None
    """p(w): isotropic, diagonal, mixture (one component per base class), fixed-normal (N(0, I), nothing learned),
    low-rank (correlated Gaussian), flow (affine couplings), or hierarchical (diagonal, with its parameters latent
    under a hyper-prior); mixture in lwof and diagonal otherwise, unless said."""
    kl_weight: float | None = None
    """Weight of the KL against a query's mean log likelihood, 1 being the literal ELBO; 1e-4, unless said.
    With 0 q is a point, and the prior learns nothing but the base classes' weights, in
    lwof."""

    psi_from_base: bool = True
    """In lwof, let the base classes' weights learn from the queries, through their draws: the ELBO's whole
    gradient. Without it a mixture's stay as stage 1 made them, and psi learns from the KL alone."""

    iterations: int | None = None
    """SVI steps; the paper's 60000, or 1500 on the synthetic world, unless said."""
    epochs: int | None = None
    """How often to validate and save; the paper's 60, or 12 in runs under 20000 iterations, unless said."""
    batch_size: int = 8
    """Tasks a step."""
    learning_rate: float | None = None
    """Adam's first learning rate; the paper's 1e-3, or 3e-3 in standard runs under 20000 iterations."""
    schedule: str | None = None
    """Of the learning rate; the paper's step, or cosine in runs under 20000 iterations, unless said."""
    objective: str = "trace"
    """trace (Trace_ELBO) or mean-field (TraceMeanField_ELBO: closed-form KL)."""
    particles: int = 1
    """Draws of w in a training step."""
    select_tasks: int = 500
    """Validation tasks by which the best epoch is chosen."""

    eval_tasks: int | None = None
    """Tasks to evaluate on; 2000 on val and 600 on test, unless said."""
    draws: int = 20
    """Posterior draws averaged in a prediction; 0 predicts at q's mean."""
    novel_share: tuple[float, ...] = ()
    """In lwof, also score predictions that expect the evaluation tasks' share of novel queries, by an offset
    between novel and base classes that each task's queries give: strengths of that prior, in queries."""
    posterior_tasks: int = 0
    """Also write posterior.nc: those draws and all that is said of them, for so many tasks."""
    compare: bool = True
    """Also train and evaluate K = 0 beside the K asked for."""
    seed: int = 0
    """Of training tasks, weights and draws in stage 2; f and the evaluation tasks are the same for every seed."""
    data_seed: int = 0
    """Of the synthetic world."""
    device: str = "auto"
    """auto, cpu or cuda."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """CPU threads; torch's choice, unless said."""
    out: Path | None = None
    """Where results go; runs/SETTING-DATA-..., unless said."""
    cache_dir: Path = Path("runs/cache")
    """Where decoded images, trained backbones and features are kept, by content."""

    @property
    def source(self) -> str:
        """Where the data come from: synthetic, mini-imagenet or folders, or features."""
        return "features" if self.features else self.data

    @property
    def joint(self) -> bool:
        """Whether queries are classified among base and novel classes."""
        return self.setting == "lwof"

    def resolved(self) -> "RunSettings":
        """All defaults filled in, all names and sizes checked, before anything is read.

        Raises:
            InputError: what is wrong, what would be right.
        """
        check_numbers(self)
        if self.learner is not None:
            return self._of_learner(read_learner_card(self.learner))
        if self.setting is None:
            raise InputError("--setting is missing; choose standard or lwof, or give a --learner")
        return self._filled()

    def _filled(self) -> "RunSettings":
        mini, synthetic = self.source in ("mini-imagenet", "folders"), self.source == "synthetic"
        prior = said(self.prior, "mixture" if self.joint else "diagonal")
        iterations = self.iterations if self.iterations is not None else (1500 if synthetic else 60_000)
        short = iterations < 20_000
        learner = learner_named(self.guide)
        card = None if self.network is None or self.learner is not None else self._card(self.network)
        full = replace(
            self,
            backbone=self.backbone if card is None else card.backbone,
            image_size=said(self.image_size if card is None else card.image_size, 84 if mini else 32),
            pretrain_epochs=said(self.pretrain_epochs, 60 if mini else 10),
            iterations=iterations,
            epochs=said(self.epochs, min(12 if short else 60, iterations)),
            learning_rate=said(self.learning_rate, 3e-3 if short and not self.joint else 1e-3),
            schedule=said(self.schedule, "cosine" if short else "step"),
            prior=prior,
            steps=self.steps if learner.fixed_steps is None else learner.fixed_steps,
            initializer=learner.fixed_initializer or self.initializer,
            train_query_balance=said(self.train_query_balance, self.query_balance),
            train_ways=None if self.train_ways == self.ways else self.train_ways,
            kl_weight=said(self.kl_weight, KL_WEIGHT),
        )
        full._check()
        name = f"{self.setting}-{self.source}-{self.ways}way-{self.shots}shot-{self.guide}-K{full.steps}"
        if self.learner is not None:
            name = f"learner-{Path(self.learner).resolve().parent.name}-{name}"
        held = f"-{self.hold_out_classes}held" if self.hold_out_classes else ""
        trained = f"-trained-{full.train_ways}way" if full.train_ways else ""
        return replace(full, out=self.out or Path("runs") / f"{name}-{full.prior}{held}{trained}-seed{self.seed}")

    def _of_learner(self, card: LearnerCard) -> "RunSettings":
        """With all that a trained learner brings along.

        Raises:
            InputError: an option that says otherwise.
        """
        own = _learner_fields(card)
        defaults = {f.name: f.default for f in fields(self)}
        for name, value in own.items():
            if getattr(self, name) not in (defaults[name], value):
                raise InputError(
                    f"--{name.replace('_', '-')} {getattr(self, name)} with --learner {self.learner}, which has "
                    f"{value}; leave it out"
                )
        for name in ("network", "tune_features"):
            if getattr(self, name) != defaults[name]:
                option = f"--{name.replace('_', '-')}"
                raise InputError(f"{option} is for training, and --learner trains nothing; leave it out")
        if (self.features is None) != (card.pictures is not None):
            kinds = ("features; give --features", "images; leave --features out")
            raise InputError(f"--learner {self.learner} takes {kinds[card.pictures is not None]}")
        return replace(self, **own, compare=False)._filled()

    def _card(self, network: str) -> NetworkCard:
        """Of the named network, if these settings can have it."""
        if self.features:
            raise InputError("--network needs images, but --features gives features; drop one of them")
        card = read_card(network)
        if self.image_size not in (None, card.image_size):
            raise InputError(
                f"--network {network} is of images of {card.image_size} pixels; "
                f"leave out --image-size {self.image_size}"
            )
        return card

    def _check(self) -> None:
        if self.joint and not learner_named(self.guide).serves_joint:
            able = ", ".join(name for name, learner in LEARNERS.items() if learner.serves_joint)
            raise InputError(f"--guide {self.guide} cannot serve --setting lwof; choose standard, or one of {able}")
        for kind, value, known in (
            ("prior", self.prior, PRIORS),
            ("backbone", self.backbone, BACKBONES),
            ("initializer", self.initializer, INITIALIZERS),
            ("synthetic gradient", self.synthetic_gradient, SYNTHETIC_GRADIENTS),
        ):
            if value not in known:
                raise InputError(f"unknown {kind} {value!r}; choose one of {', '.join(known)}")
        if self.train_ways is not None:
            self._check_any_ways()
        if self.hold_out_classes and self.split == "test":
            raise InputError("--hold-out-classes evaluates on the classes held out; leave --split test out")
        if self.features and self.data_root:
            raise InputError("--features and --data-root both given; choose one")
        if self.data != "synthetic" and not self.features and self.data_root is None:
            raise InputError(f"--data {self.data} needs --data-root, the folder with its images or pickles")
        if self.data == "synthetic" and self.data_root:
            raise InputError(f"--data-root {self.data_root} given with --data synthetic; add --data folders")
        if self.tune_features and self.features:
            raise InputError("--tune-features needs images, but --features gives features; drop one of them")
        assert self.epochs is not None
        assert self.iterations is not None
        if self.epochs > self.iterations:
            raise InputError(
                f"--epochs {self.epochs} with --iterations {self.iterations}: each epoch needs an iteration at "
                f"least; lower --epochs"
            )
        if self.novel_share and not self.joint:
            raise InputError("--novel-share is for tasks of novel and base queries; add --setting lwof")
        if self.posterior_tasks and issubclass(learner_named(self.guide), Baseline):
            raise InputError(
                f"--posterior-tasks {self.posterior_tasks}: {self.guide} has no density over weights; leave it out"
            )
        if self.posterior_tasks and not self.draws:
            raise InputError(f"--posterior-tasks {self.posterior_tasks} with --draws 0: 1 or more draws are needed")
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"unknown device {self.device!r}; choose one of auto, cpu, cuda")
        if self.second_balance is not None:
            parse_balance(self.second_balance)
        if self.tune_features and self.flip_features:
            raise InputError("--tune-features trains on images as they are, not --flip-features; leave one out")
        if self.tune_features and self.propagation:
            raise InputError("--tune-features trains on images, which --propagation cannot move; leave one out")
        assert self.train_query_balance is not None
        (
            self.shape(),
            self.train_shape(),
            self.train_settings(),
            self.guide_settings(features=1),
            self.weights(),
            self.propagator(),
        )

    def _check_any_ways(self) -> None:
        """Refuse parts that are made for the training tasks' number of classes alone."""
        learner = learner_named(self.guide)
        parts: list[tuple[str, str, Mapping[str, object]]] = [("guide", self.guide, LEARNERS)]
        if learner.takes_initializer:
            parts.append(("initializer", self.initializer, INITIALIZERS))
        if issubclass(learner, SIBGuide) and self.steps:
            parts.append(("synthetic-gradient", self.synthetic_gradient, SYNTHETIC_GRADIENTS))
        for option, name, known in parts:
            if getattr(known[name], "fixed_ways", False):
                able = ", ".join(n for n, part in known.items() if not getattr(part, "fixed_ways", False))
                raise InputError(
                    f"--train-ways {self.train_ways} with --ways {self.ways}: --{option} {name} serves one number "
                    f"of classes; choose one of {able}"
                )

    def shape(self, balance: str | None = None) -> EpisodeShape:
        """Of evaluation tasks, with their own query balance or another."""
        return self._shape(self.ways, balance or self.query_balance)

    def train_shape(self) -> EpisodeShape:
        """Of training and selection tasks."""
        assert self.train_query_balance is not None
        return self._shape(self.trained_ways, self.train_query_balance)

    def _shape(self, ways: int, balance: str) -> EpisodeShape:
        base = ways * self.queries if self.joint else 0
        return EpisodeShape(ways, self.shots, self.queries, base, parse_balance(balance))

    @property
    def trained_ways(self) -> int:
        """N of the training tasks."""
        return said(self.train_ways, self.ways)

    def propagator(self) -> Propagation | None:
        """What moves a task's features, if anything does."""
        with renamed(strength="propagation"):
            return Propagation(self.propagation) if self.propagation != 0 else None

    def weights(self) -> ObjectiveWeights:
        """Of the ELBO's two terms."""
        assert self.kl_weight is not None
        assert self.iterations is not None
        with renamed(kl="kl_weight"):
            return ObjectiveWeights(self.kl_weight, self.psi_from_base, self.iterations * self.batch_size)

    def pretrain_settings(self, device: torch.device) -> PretrainSettings:
        """Stage 1 on that device."""
        assert self.image_size is not None
        assert self.pretrain_epochs is not None
        with renamed(**_STAGE_1):
            return PretrainSettings(
                backbone=self.backbone,
                image_size=self.image_size,
                epochs=self.pretrain_epochs,
                batch_size=self.pretrain_batch_size,
                learning_rate=self.pretrain_learning_rate,
                schedule=self.pretrain_schedule,
                weight_decay=self.pretrain_weight_decay,
                seed=self.pretrain_seed,
                label_smoothing=self.pretrain_label_smoothing,
                mixup=self.pretrain_mixup,
                colour=self.pretrain_colour,
                crop=self.pretrain_crop,
                rotation=self.pretrain_rotation,
                averaging=self.pretrain_averaging,
                head_scale=self.pretrain_head_scale,
                precision=choose_precision(self.precision, device, self.image_size),
            )

    def guide_settings(self, features: int) -> GuideSettings:
        """Inside phi, for features of that many dimensions."""
        assert self.prior is not None
        assert self.kl_weight is not None
        settings = GuideSettings(
            steps=self.steps,
            initializer=self.initializer,
            synthetic_gradient=self.synthetic_gradient,
            step_size=self.step_size,
            learn_step_size=self.learn_step_size,
            step_samples=self.step_samples,
            initial_scale=said(self.initial_scale, GuideSettings.initial_scale),
            kl_step=self.kl_step,
            support_gradient=self.support_gradient,
            fit_steps=self.fit_steps,
        )
        given = self.initial_scale is not None
        return settings if given else first_scale(settings, self.prior, self.kl_weight, features)

    def learner_settings(self, features: int) -> LearnerSettings:
        """Of the program, for features of that many dimensions."""
        assert self.prior is not None
        return LearnerSettings(
            guide=self.guide,
            prior=self.prior,
            ways=self.trained_ways,
            joint=self.joint,
            inside=self.guide_settings(features),
            predictor_scale=self.predictor_scale,
            weights=self.weights(),
            seed=self.seed,
        )

    def train_settings(self) -> TrainSettings:
        """Stage 2."""
        assert self.iterations is not None
        assert self.epochs is not None
        assert self.learning_rate is not None
        assert self.schedule is not None
        return TrainSettings(
            iterations=self.iterations,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            objective=self.objective,
            particles=self.particles,
            seed=self.seed,
        )


def said(value: Value | None, otherwise: Value) -> Value:
    """What the user said, or the default."""
    return otherwise if value is None else value


def _learner_fields(card: LearnerCard) -> dict[str, Any]:
    """The settings that a learner has decided on."""
    learner, inside, pictures = card.learner, card.learner.inside, card.pictures
    found: dict[str, Any] = {
        "setting": "lwof" if learner.joint else "standard",
        "guide": learner.guide,
        "prior": learner.prior,
        "steps": inside.steps,
        "initializer": inside.initializer,
        "synthetic_gradient": inside.synthetic_gradient,
        "support_gradient": inside.support_gradient,
        "step_size": inside.step_size,
        "learn_step_size": inside.learn_step_size,
        "step_samples": inside.step_samples,
        "initial_scale": inside.initial_scale,
        "kl_step": inside.kl_step,
        "fit_steps": inside.fit_steps,
        "predictor_scale": learner.predictor_scale,
        "kl_weight": learner.weights.kl,
        "psi_from_base": learner.weights.base_to_psi,
        "propagation": card.propagation,
        "train_ways": card.tasks.ways,
        "train_query_balance": card.tasks.balance,
        **asdict(card.training),
    }
    if pictures is not None:
        found |= {
            "backbone": pictures.backbone,
            "image_size": pictures.image_size,
            "flip_features": pictures.flips,
        }
    return found
