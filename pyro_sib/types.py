"""What flows between the layers: the evidence of a batch of tasks, the episode, a Gaussian's parameters."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple, Protocol, Self

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_sib.cosine import unit
from pyro_sib.readable import readable
from pyro_sib.tasks.checks import check_base_ids, check_finite, check_labels, check_query_labels


class GaussianParameters(NamedTuple):
    """theta: a diagonal Gaussian for each class of each task."""

    loc: Tensor
    """(T, N, D)."""
    log_scale: Tensor
    """(T, N, D), log of the standard deviation."""

    def expanded(self) -> "GaussianParameters":
        """With log_scale in loc's shape, where it came in one that broadcasts to it."""
        return GaussianParameters(self.loc, self.log_scale.expand_as(self.loc))


@dataclass(frozen=True)
class Evidence:
    """All that a guide may see of T tasks: no query label is reachable from here.

    Tensors on the CPU are checked when the evidence is made, others by `check`, which waits for their device.

    Attributes:
        support_x: (T, M, D) features of the labeled examples (or (T, M, 3, S, S) images).
        support_y: (T, M) classes 0..N-1; values in regression, where N = 1.
        query_x: (T, Q, D) features of the unlabeled queries (or images).
        ways: N.
        base_ids: (T, B') base classes that this task knows, or None where there are none. In training the N
            classes that play novel are left out.
        task_ids: (T,) the tasks' numbers, from which draws at evaluation derive, or None.
        joint: LwoF, i.e. queries are classified among the B' base classes and the N novel ones together.
        proportions: (T, N) what is known of how the queries divide among the classes, as the concentrations of a
            Dirichlet distribution, or None where nothing is known.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    ways: int
    base_ids: Tensor | None = None
    task_ids: Tensor | None = None
    joint: bool = False
    proportions: Tensor | None = None

    def __post_init__(self) -> None:
        self._check_shapes()
        if readable(self.support_y):
            self.check()

    @classmethod
    def trusted(cls, **parts: Any) -> Self:
        """The same without `check`, for parts of evidence that was checked and for a sampler's own tasks."""
        made = object.__new__(cls)
        made.__dict__.update({f.name: parts.get(f.name, f.default) for f in fields(cls)})
        made._check_shapes()
        return made

    def check(self) -> None:
        """Refuse labels that are not the task's, classes without an example, and features that are not finite.

        Raises:
            ValueError: naming the task and the label, class or row.
        """
        check_labels(self.support_y, self.ways)
        if self.base_ids is not None:
            check_base_ids(self.base_ids)
        check_finite("support_x", self.support_x)
        check_finite("query_x", self.query_x)

    def _check_shapes(self) -> None:
        if self.support_y.ndim != 2:
            raise ValueError(f"support_y should be (T, M) but is {tuple(self.support_y.shape)}")
        tasks, labeled = self.support_y.shape
        if self.support_x.shape[:2] != (tasks, labeled):
            raise ValueError(f"support_x {tuple(self.support_x.shape)} does not fit support_y {(tasks, labeled)}")
        if self.query_x.shape[0] != tasks or self.query_x.shape[2:] != self.support_x.shape[2:]:
            raise ValueError(f"query_x {tuple(self.query_x.shape)} does not fit {tuple(self.support_x.shape)}")
        if self.joint and self.base_ids is None:
            raise ValueError("a joint task needs base_ids")
        if self.proportions is not None and self.proportions.shape != (tasks, self.ways):
            raise ValueError(f"proportions {tuple(self.proportions.shape)} do not fit {(tasks, self.ways)}")
        if self.base_ids is not None and self.base_ids.shape[0] != tasks:
            raise ValueError(f"base_ids {tuple(self.base_ids.shape)} does not fit {tasks} tasks")

    @property
    def tasks(self) -> int:
        """T."""
        return self.support_y.shape[0]

    @property
    def queries(self) -> int:
        """Q."""
        return self.query_x.shape[1]

    @cached_property
    def unit_query_x(self) -> Tensor:
        """(T, Q, D) query_x as unit vectors and constants, computed once for steps and predictions."""
        return unit(self.query_x.detach())

    @property
    def joint_base_ids(self) -> Tensor | None:
        """base_ids where they are also to be predicted."""
        return self.base_ids if self.joint else None

    def one_hot(self, dtype: torch.dtype) -> Tensor:
        """(T, M, N) ones where a labeled example is of the class, zeros elsewhere."""
        # Not torch's, which looks at the labels and so waits for the device.
        classes = torch.arange(self.ways, device=self.support_y.device)
        return (self.support_y[..., None] == classes).to(dtype)

    def class_means(self, support: Tensor) -> Tensor:
        """Mean over each class's labeled examples, however many: (T, M, D) -> (T, N, D)."""
        one_hot = self.one_hot(support.dtype)
        return one_hot.transpose(1, 2) @ support / one_hot.sum(1)[..., None]

    def by_class(self) -> "Evidence":
        """The same with the labeled examples class by class, each class's own in the order in which they came."""
        order = self.support_y.argsort(dim=1, stable=True)
        rows = order.view(*order.shape, *[1] * (self.support_x.ndim - 2))
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        parts["support_x"] = torch.take_along_dim(self.support_x, rows, dim=1)
        parts["support_y"] = self.support_y.gather(1, order)
        return type(self).trusted(**parts)


@dataclass(frozen=True)
class Episode:
    """Evidence with the query labels, which only the model may see.

    Attributes:
        evidence: the T tasks.
        query_y: (T, Q) labels: 0..N-1, or, for joint tasks, base 0..B'-1 and novel B'..B'+N-1; in regression,
            values.
    """

    evidence: Evidence
    query_y: Tensor

    def __post_init__(self) -> None:
        if self.query_y.shape != self.evidence.query_x.shape[:2]:
            raise ValueError(
                f"query_y {tuple(self.query_y.shape)} does not fit query_x {tuple(self.evidence.query_x.shape)}"
            )
        if readable(self.query_y):
            self.check()

    @classmethod
    def trusted(cls, evidence: Evidence, query_y: Tensor) -> Self:
        """The same without `check`, for a sampler's own tasks."""
        made = object.__new__(cls)
        made.__dict__.update(evidence=evidence, query_y=query_y)
        return made

    def check(self) -> None:
        """Refuse query labels that are not the task's; -1 stands for a query of no known class.

        Raises:
            ValueError: naming the task and the label.
        """
        ids = self.evidence.joint_base_ids
        classes = self.evidence.ways + (0 if ids is None else ids.shape[1])
        check_query_labels(self.query_y, classes, values=self.evidence.support_y.is_floating_point())

    def with_features(self, support_x: Tensor, query_x: Tensor) -> "Episode":
        """The same tasks in another representation."""
        parts = {field.name: getattr(self.evidence, field.name) for field in fields(Evidence)}
        evidence = Evidence.trusted(**parts | {"support_x": support_x, "query_x": query_x})
        return Episode.trusted(evidence, self.query_y)

    def to(self, device: torch.device) -> "Episode":
        """The same tasks on a device."""
        parts = {field.name: getattr(self.evidence, field.name) for field in fields(Evidence)}
        there = {name: part.to(device) if isinstance(part, Tensor) else part for name, part in parts.items()}
        return Episode.trusted(Evidence.trusted(**there), self.query_y.to(device))

    def oracle(self) -> "OracleEvidence":
        """The evidence with the labels in it, for guides that measure what the labels would be worth."""
        parts = {field.name: getattr(self.evidence, field.name) for field in fields(Evidence)}
        return OracleEvidence.trusted(**parts, query_y=self.query_y)


@dataclass(frozen=True, kw_only=True)
class OracleEvidence(Evidence):
    """Evidence with the query labels: what an oracle may see, and no other guide.

    Attributes:
        query_y: (T, Q) labels, as in `Episode`.
    """

    query_y: Tensor


class PriorLike(Protocol):
    """What a guide may ask of p_psi."""

    quadratic: bool
    """Whether `kl_gradient` gives the same at every theta."""

    @property
    def base_classes(self) -> int:
        """B."""

    def kl_gradient(
        self, theta: GaussianParameters, base_ids: Tensor | None, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Precision P and shift m, each broadcastable to (T, N, D).

        d KL / d loc = P loc - m, d KL / d log_scale = P s^2 - 1. theta.log_scale may be of a shape that broadcasts.
        """

    def with_psi_from_posterior(self) -> "PriorLike":
        """Outside all plates: the prior at a psi drawn from q(psi), as Pyro sites; itself without a hyper-prior."""

    def base_kl(self) -> float:
        """KL(q || p_psi) of all base classes' weights together, nats."""

    def base_locs(self, base_ids: Tensor) -> Tensor:
        """(T, B') -> (T, B', D) posterior means of those base classes' weights."""

    def base_posterior(self, base_ids: Tensor) -> TorchDistribution:
        """(T, B') -> the posterior q of those base classes' weights, event (D,)."""

    def distribution(self, base_ids: Tensor | None) -> TorchDistribution:
        """p_psi(w), batch broadcastable to (T, N), event (D,)."""


class LikelihoodLike(Protocol):
    """What a guide may ask of p_f(y | x, w)."""

    def logits(self, w: Tensor, query_x: Tensor, w_base: Tensor | None = None) -> Tensor:
        """(..., T, N, D), (T, Q, D) [, (..., T, B', D)] -> (..., T, Q, [B' +] N), base classes first."""

    def distribution(self, outputs: Tensor) -> TorchDistribution:
        """p(y | outputs), batch (..., T, Q)."""

    def points(self, x: Tensor) -> Tensor:
        """(T, P, D) -> (T, P, D), in the form that the steps use; done once for all steps."""

    def query_points(self, evidence: Evidence) -> Tensor:
        """`points` of the queries, (T, Q, D), as constants; computed once for the same evidence."""

    def step_outputs(self, w: Tensor, points: Tensor) -> Tensor:
        """(..., T, N, D), (T, P, D) -> (..., T, P, N); the likelihood's own parameters are constants."""

    def vjp(self, w: Tensor, points: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """`step_outputs`, and what takes a gradient in them to one in w: (..., T, P, N) -> (..., T, N, D)."""

    def output_gradient(self, outputs: Tensor, y: Tensor, base: Tensor | None = None) -> Tensor:
        """Gradient of -log p(y | outputs) in the outputs, (..., T, P, N).

        y, (T, P), counts from the first novel class; where it is negative, a base class. `base`, (..., T, P, 1),
        is the logsumexp of the base logits.
        """
