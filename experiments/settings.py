"""The settings of a run: one typed dataclass, which is the command line as well."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import tyro

from inference import LEARNERS, Baseline, GuideSettings, SIBGuide, learner_named
from inference.initializers import INITIALIZERS
from inference.synthetic_gradients import SYNTHETIC_GRADIENTS
from inference.training import TrainSettings
from models import PRIORS
from pyro_sib.backbones import BACKBONES, MIN_IMAGE_SIZE
from pyro_sib.episodes import EpisodeShape
from pyro_sib.errors import InputError
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.pretrain import PretrainSettings
from pyro_sib.propagation import Propagation
from pyro_sib.query_balance import parse_balance

Value = TypeVar("Value")

KL_WEIGHT, MIXTURE_KL_WEIGHT = 1e-4, 1e-3
"""Of the KL unless said: the mixture prior's, with its many components, is another (docs/results.md)."""


@dataclass(frozen=True)
class RunSettings:
    """Learn a few-shot classifier by empirical Bayes with synthetic gradients, and evaluate it.

    Without a data set it runs on a synthetic image world that it generates itself.
    """

    setting: Literal["standard", "lwof"]
    """Classify queries among the novel classes (standard) or among base and novel ones (lwof)."""
    data: Literal["synthetic", "mini-imagenet"] = "synthetic"
    """Where the images come from."""
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
    image_size: int | None = None
    """Pixels a side; 84 for mini-ImageNet and 32 for the synthetic world, unless said."""
    pretrain_epochs: int | None = None
    """Epochs of stage 1; 60 for mini-ImageNet, 10 for the synthetic world, unless said."""
    pretrain_batch_size: int = 64
    """Images a step in stage 1."""
    pretrain_learning_rate: float = 0.1
    """First learning rate of stage 1."""
    pretrain_schedule: Literal["cosine", "step"] = "cosine"
    """Learning rate of stage 1: to zero along a cosine, or in Gidaris & Komodakis's steps."""
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
    initial_scale: float = 0.01
    """First standard deviation of q."""
    predictor_scale: float = 10.0
    """First scale of the cosine predictor."""
    kl_step: Literal["explicit", "implicit"] = "implicit"
    """The KL's part of a step: eq. (9) to the letter, or at its end point (stable at any weight)."""
    prior: str | None = None
    """p(w): isotropic, diagonal, mixture (one component per base class), fixed-normal (N(0, I), nothing learned),
    low-rank (correlated Gaussian), flow (affine couplings), or hierarchical (diagonal, with its parameters latent
    under a hyper-prior); mixture in lwof and diagonal otherwise, unless said."""
    kl_weight: float | None = None
    """Weight of the KL against a query's mean log likelihood, 1 being the literal ELBO; 1e-4, or 1e-3 with the
    mixture prior, unless said. With 0 q is a point, and the prior learns nothing but the base classes' weights, in
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
        """Name of the data: mini-imagenet, synthetic, or features."""
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
        mini, synthetic = self.source == "mini-imagenet", self.source == "synthetic"
        prior = said(self.prior, "mixture" if self.joint else "diagonal")
        iterations = self.iterations if self.iterations is not None else (1500 if synthetic else 60_000)
        short = iterations < 20_000
        learner = learner_named(self.guide)
        full = replace(
            self,
            image_size=said(self.image_size, 84 if mini else 32),
            pretrain_epochs=said(self.pretrain_epochs, 60 if mini else 10),
            iterations=iterations,
            epochs=said(self.epochs, 12 if short else 60),
            learning_rate=said(self.learning_rate, 3e-3 if short and not self.joint else 1e-3),
            schedule=said(self.schedule, "cosine" if short else "step"),
            prior=prior,
            steps=self.steps if learner.fixed_steps is None else learner.fixed_steps,
            initializer=learner.fixed_initializer or self.initializer,
            train_query_balance=said(self.train_query_balance, self.query_balance),
            train_ways=None if self.train_ways == self.ways else self.train_ways,
            kl_weight=said(self.kl_weight, MIXTURE_KL_WEIGHT if prior == "mixture" else KL_WEIGHT),
        )
        full._check()
        name = f"{self.setting}-{self.source}-{self.ways}way-{self.shots}shot-{self.guide}-K{full.steps}"
        held = f"-{self.hold_out_classes}held" if self.hold_out_classes else ""
        trained = f"-trained-{full.train_ways}way" if full.train_ways else ""
        return replace(full, out=self.out or Path("runs") / f"{name}-{full.prior}{held}{trained}-seed{self.seed}")

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
        if self.data == "mini-imagenet" and not self.features and self.data_root is None:
            raise InputError("--data mini-imagenet needs --data-root, the folder with its images or pickles")
        if self.data == "synthetic" and self.data_root:
            raise InputError(f"--data-root {self.data_root} given with --data synthetic; add --data mini-imagenet")
        if self.tune_features and self.features:
            raise InputError("--tune-features needs images, but --features gives features; drop one of them")
        assert self.image_size is not None
        if self.image_size < MIN_IMAGE_SIZE:
            raise InputError(f"--image-size {self.image_size}: {MIN_IMAGE_SIZE} or more is needed")
        for name, least in (
            ("train_ways", 2),
            ("pretrain_epochs", 1),
            ("pretrain_batch_size", 2),
            ("select_tasks", 2),
            ("draws", 0),
            ("posterior_tasks", 0),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"--{name.replace('_', '-')} {value}: {least} or more is needed")
        if self.novel_share and not self.joint:
            raise InputError("--novel-share is for tasks of novel and base queries; add --setting lwof")
        for strength in self.novel_share:
            if not 0 <= strength < float("inf"):
                raise InputError(f"--novel-share {strength}: finite numbers of 0 or more are needed")
        if self.posterior_tasks and issubclass(learner_named(self.guide), Baseline):
            raise InputError(
                f"--posterior-tasks {self.posterior_tasks}: {self.guide} has no density over weights; leave it out"
            )
        if self.posterior_tasks and not self.draws:
            raise InputError(f"--posterior-tasks {self.posterior_tasks} with --draws 0: 1 or more draws are needed")
        if self.eval_tasks is not None and self.eval_tasks < 2:
            raise InputError(f"--eval-tasks {self.eval_tasks}: 2 or more are needed for an interval")
        if not self.predictor_scale > 0:
            raise InputError(f"--predictor-scale {self.predictor_scale}: a positive number is needed")
        if self.threads is not None and self.threads < 1:
            raise InputError(f"--threads {self.threads}: 1 or more is needed")
        if self.device not in ("auto", "cpu", "cuda"):
            raise InputError(f"unknown device {self.device!r}; choose one of auto, cpu, cuda")
        if self.second_balance is not None:
            parse_balance(self.second_balance)
        if self.tune_features and self.propagation:
            raise InputError("--tune-features trains on images, which --propagation cannot move; leave one out")
        assert self.train_query_balance is not None
        (
            self.shape(),
            self.train_shape(),
            self.train_settings(),
            self.guide_settings(),
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
        return Propagation(self.propagation) if self.propagation != 0 else None

    def weights(self) -> ObjectiveWeights:
        """Of the ELBO's two terms."""
        assert self.kl_weight is not None
        assert self.iterations is not None
        return ObjectiveWeights(self.kl_weight, self.psi_from_base, self.iterations * self.batch_size)

    def pretrain_settings(self) -> PretrainSettings:
        """Stage 1."""
        assert self.image_size is not None
        assert self.pretrain_epochs is not None
        return PretrainSettings(
            backbone=self.backbone,
            image_size=self.image_size,
            epochs=self.pretrain_epochs,
            batch_size=self.pretrain_batch_size,
            learning_rate=self.pretrain_learning_rate,
            schedule=self.pretrain_schedule,
        )

    def guide_settings(self) -> GuideSettings:
        """Inside phi."""
        return GuideSettings(
            steps=self.steps,
            initializer=self.initializer,
            synthetic_gradient=self.synthetic_gradient,
            step_size=self.step_size,
            learn_step_size=self.learn_step_size,
            step_samples=self.step_samples,
            initial_scale=self.initial_scale,
            kl_step=self.kl_step,
            support_gradient=self.support_gradient,
            fit_steps=self.fit_steps,
        )

    def train_settings(self) -> TrainSettings:
        """Stage 2."""
        assert self.iterations is not None
        assert self.epochs is not None
        assert self.learning_rate is not None
        assert self.schedule is not None
        return TrainSettings(
            iterations=self.iterations,
            epochs=min(self.epochs, max(self.iterations, 1)),
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
