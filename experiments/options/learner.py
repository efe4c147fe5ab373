"""The learner: the guide, what is inside it, and the prior."""

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.options.alike import alike
from pyro_sib.experiments.options.names import explained, listed
from pyro_sib.inference import BASELINES, GUIDES, LEARNERS, GuideSettings
from pyro_sib.inference.initializers import INITIALIZERS
from pyro_sib.inference.settings.card import SHIPPED
from pyro_sib.inference.steps import SYNTHETIC_GRADIENTS
from pyro_sib.models import PRIORS
from pyro_sib.on_demand import Registry

_SHIPPED = f" or one that comes with the project ({listed(SHIPPED)})" if SHIPPED else ""


@dataclass(frozen=True, kw_only=True)
class GuideOptions:
    """What q(w) comes from."""

    group: ClassVar[str] = "learner"
    learner: Annotated[
        str | None,
        tyro.conf.arg(
            help=f"A trained learner to evaluate, the learner.safetensors of a run{_SHIPPED}; nothing is trained "
            "then. Of one that comes with the project some words of the name do, as mini-imagenet-c128f; --shots, "
            "--setting, --synthetic-gradient and --steps choose among several. One for any task, as lite0, "
            "takes the features of --network or --features in place of its own network's."
        ),
    ] = None
    guide: Annotated[str, explained("q(w), or a baseline without a posterior.", GUIDES, BASELINES)] = "sib"
    steps: int = 3
    """Steps (K), where the guide takes any."""
    initializer: Annotated[str, explained("lambda, where the steps start.", INITIALIZERS)] = "support"


@dataclass(frozen=True, kw_only=True)
class XiOptions:
    """Of commands that choose a synthetic gradient."""

    group: ClassVar[str] = "learner"
    synthetic_gradient: Annotated[str, explained("xi.", SYNTHETIC_GRADIENTS)] = "mlp"


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """What the steps descend beside the queries' synthetic gradient."""

    group: ClassVar[str] = "learner"
    support_gradient: bool = False
    """Let sib's steps descend the labeled examples' loss too, with a learned weight."""
    kl_weight: float | None = None
    """Weight of the KL per number of w (of which a task has N D) against a query's mean log likelihood; 0.1, or
    0.032 with the mixture prior, unless given. With 0 q is a point, and the prior learns nothing but the base
    classes' weights, in lwof."""


@dataclass(frozen=True, kw_only=True)
class LearnerOptions(StepOptions, GuideOptions):
    """Of a run."""

    synthetic_gradient: Annotated[str | None, explained("xi; mlp, unless given.", SYNTHETIC_GRADIENTS)] = None
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
    coordinates: int | None = None
    """Principal coordinates of a task's own pile in which a guide that takes such tasks is given them; 40, unless
    given."""
    power: float | None = None
    """To which features that are not negative are raised for these coordinates; 0.5, unless given. 1 leaves them as
    they are."""
    predictor_scale: float = 10.0
    """First scale of the cosine predictor."""
    kl_step: Literal["explicit", "implicit"] = "implicit"
    """The KL's part of a step: eq. (9) to the letter, or at its end point (stable at any weight)."""
    prior: Annotated[
        str | None, explained("p(w); mixture in lwof and diagonal otherwise, unless given.", PRIORS)
    ] = None
    psi_from_base: bool = True
    """In lwof, let the base classes' weights learn from the queries, through their draws: the ELBO's whole
    gradient. Without it a mixture's stay as stage 1 made them, and psi learns from the KL alone."""


@dataclass(frozen=True, kw_only=True)
class ResolvedLearner(LearnerOptions):
    """With the xi, the prior and the KL's weight that are meant."""

    synthetic_gradient: str = field()
    prior: str = field()
    kl_weight: float = field()

    def check_any_ways(self, ways: int, train_ways: int) -> None:
        """Refuse parts that are made for the training tasks' number of classes alone.

        Raises:
            InputError: naming the part and those that serve any number.
        """
        parts: list[tuple[str, str, Registry]] = [("guide", self.guide, LEARNERS)]
        if LEARNERS.declared(self.guide, "takes_initializer"):
            parts.append(("initializer", self.initializer, INITIALIZERS))
        if LEARNERS.declared(self.guide, "takes_synthetic_gradient") and self.steps:
            parts.append(("synthetic-gradient", self.synthetic_gradient, SYNTHETIC_GRADIENTS))
        for option, name, known in parts:
            if known.declared(name, "fixed_ways"):
                able = ", ".join(other for other in known if not known.declared(other, "fixed_ways"))
                raise InputError(
                    f"--train-ways {train_ways} with --ways {ways}: --{option} {name} serves one number of "
                    f"classes; choose one of {able}"
                )

    def guide_settings(self) -> GuideSettings:
        """Inside phi."""
        return alike(GuideSettings, self)
