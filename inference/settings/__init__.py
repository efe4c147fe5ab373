"""The choices inside a guide, and the form of the tasks that it is built for."""

from dataclasses import dataclass, field
from typing import Literal

from pyro_sib.errors import InputError, argument
from pyro_sib.objective import ObjectiveWeights
from pyro_sib.typed_json import LATER

SCALES = (1e-12, 1e6)
"""Of q at the start: its square and its precision must stay far from what single precision cannot hold."""


@dataclass(frozen=True)
class TaskForm:
    """What every task of a program has in common.

    Attributes:
        features: D.
        ways: N.
        joint: whether queries are classified among base and novel classes together (LwoF).
        base_classes: B, or 0 without base classes.
    """

    features: int
    ways: int
    joint: bool = False
    base_classes: int = 0


def check_ways(part: str, built: int, found: int) -> None:
    """Refuse tasks of another number of classes than the one that a part is made for (`fixed_ways`).

    Raises:
        InputError: naming the part and both numbers.
    """
    if built != found:
        raise InputError(
            f"{part} serves tasks of {built} classes alone, but these have {found}; give it such tasks, or choose "
            f"another that serves any number of classes"
        )


@dataclass(frozen=True)
class GuideSettings:
    """The choices inside phi; each guide uses those that it has.

    Attributes:
        steps: K; 0 leaves lambda alone.
        initializer: lambda by name, one of `INITIALIZERS`.
        synthetic_gradient: xi by name, "mlp" (the paper's) or another of `SYNTHETIC_GRADIENTS`.
        step_size: first value of eta.
        learn_step_size: whether eta is trained; each step has its own.
        step_samples: draws for eq. (9)'s expectation; 0 evaluates it at the mean.
        initial_scale: first standard deviation of q.
        kl_step: "explicit" is eq. (9) to the letter; "implicit" takes the KL's part of the step at its end point
            (backward Euler), equal to first order in eta and stable at any kl weight.
        psi_through_steps: let psi see the KL through theta^K too, as Algorithm 1's line 10 states.
        support_gradient: let SIB's steps descend the labeled examples' loss too, with learned weights.
        fit_steps: Adam steps by which mean-field fits each task.
    """

    steps: int = 3
    initializer: str = "support"
    synthetic_gradient: str = "mlp"
    step_size: float = 1.0
    learn_step_size: bool = True
    step_samples: int = 0
    initial_scale: float = 0.01
    kl_step: Literal["explicit", "implicit"] = "implicit"
    psi_through_steps: bool = True
    support_gradient: bool = False
    fit_steps: int = 200

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"{argument('steps')} {self.steps}: 0 or more is needed")
        if self.step_samples < 0:
            raise InputError(f"{argument('step_samples')} {self.step_samples}: 0 (at the mean) or more is needed")
        if not 0 < self.step_size < float("inf"):
            raise InputError(f"{argument('step_size')} {self.step_size}: a finite positive number is needed")
        if not SCALES[0] <= self.initial_scale <= SCALES[1]:
            raise InputError(
                f"{argument('initial_scale')} {self.initial_scale}: {SCALES[0]:g} to {SCALES[1]:g} is needed"
            )
        if self.fit_steps < 1:
            raise InputError(f"{argument('fit_steps')} {self.fit_steps}: 1 or more is needed")


@dataclass(frozen=True)
class LearnerSettings:
    """What a program is built from, beside the features' number and the base classes' weights.

    Attributes:
        guide: name of the guide or baseline, one of `LEARNERS`.
        prior: name of the prior, one of `PRIORS`.
        ways: number of novel classes in a training task (N).
        joint: whether queries are classified among base and novel classes together (LwoF).
        inside: the choices inside the guide.
        predictor_scale: first scale of the cosine predictor.
        weights: of the ELBO's two terms.
        seed: of the first parameters.
        coordinates: principal coordinates of each task's own pile that the learner sees in place of the features
            (`TaskCoordinates`), for a guide that takes them; 0 for one that sees the features.
        power: to which features that are not negative are raised for these coordinates.
    """

    guide: str = "sib"
    prior: str = "diagonal"
    ways: int = 5
    joint: bool = False
    inside: GuideSettings = field(default_factory=GuideSettings)
    predictor_scale: float = 10.0
    weights: ObjectiveWeights = field(default_factory=ObjectiveWeights)
    seed: int = 0
    coordinates: int = field(default=0, metadata=LATER)
    power: float = field(default=1.0, metadata=LATER)
