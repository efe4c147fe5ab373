"""The form of a task: its classes and examples, and how its queries divide among the classes."""

from dataclasses import dataclass

from pyro_sib.errors import InputError, argument

BALANCED = "balanced"
POWER = 0.5
"""To which features that are not negative are raised: roots are nearer to Gaussian (Hu, Gripon & Pateux 2021)."""


_EVEN_SHARES = {"dirichlet": 0.0, "mixed": 0.5}


ALPHAS = (0.01, 1e6)
"""Below, all of a task's gamma draws may be zero in double precision; above, the proportions are even."""


@dataclass(frozen=True)
class QueryBalance:
    """How queries divide among the classes.

    Attributes:
        alpha: concentration of the Dirichlet that the proportions are drawn from.
        even_share: of the tasks, the share whose queries divide evenly instead, drawn task by task.
    """

    alpha: float
    even_share: float = 0.0


def parse_balance(text: str) -> QueryBalance | None:
    """None for "balanced"; "dirichlet:ALPHA", and "mixed:ALPHA", in which every other task is balanced.

    Raises:
        InputError: anything else.
    """
    kind, _, number = text.partition(":")
    if text == BALANCED:
        return None
    try:
        alpha = float(number)
    except ValueError:
        alpha = float("nan")
    if kind not in _EVEN_SHARES or not 0 < alpha < float("inf"):
        raise InputError(
            f"unknown query balance {text!r}; choose balanced, dirichlet:ALPHA or mixed:ALPHA, ALPHA > 0, "
            "as dirichlet:2"
        )
    if not ALPHAS[0] <= alpha <= ALPHAS[1]:
        raise InputError(f"query balance {text!r}: an ALPHA from {ALPHAS[0]:g} to {ALPHAS[1]:g} is needed")
    return QueryBalance(alpha, _EVEN_SHARES[kind])


@dataclass(frozen=True)
class EpisodeShape:
    """N-way, S-shot, `queries` images of each novel class, `base_queries` of all base classes together.

    Attributes:
        ways: N.
        shots: S.
        queries: query images per novel class, on average.
        base_queries: queries drawn from the base classes (LwoF); 0 in the standard setting.
        balance: how the N * queries novel queries divide among the classes; None divides them evenly.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    base_queries: int = 0
    balance: QueryBalance | None = None

    def __post_init__(self) -> None:
        for name, least in (("ways", 2), ("shots", 1), ("queries", 1), ("base_queries", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{argument(name)} {getattr(self, name)}: {least} or more is needed")


@dataclass(frozen=True)
class TaskDistribution:
    """Tasks of many sizes, of which each batch of training draws one.

    Attributes:
        ways: numbers of classes (N), each as likely.
        shots: labeled examples of each class; 0 stands for unequal numbers, each from 1 to `most_shots`.
        most_shots: of a class in a task of unequal numbers.
        queries: least and most queries of a class on average; classes may have none.
        alphas: concentrations of the Dirichlet that the proportions are drawn from; 0 stands for even ones.
        told: share of batches whose proportions the learner is told.
        difficulty: most of the weight with which a task's images are mixed with others of their domain; each task
            draws its own. A feature network knows the classes it was trained on far better than any others.
        pool: least and most images that those others are from.
    """

    ways: tuple[int, ...] = (2, 3, 5, 5, 5, 8, 10, 10, 15, 20)
    shots: tuple[int, ...] = (1, 1, 2, 5, 10, 0)
    most_shots: int = 10
    queries: tuple[int, int] = (3, 20)
    alphas: tuple[float, ...] = (0.0, 0.0, 0.0, 5.0, 2.0, 2.0, 1.0, 0.5, 0.5)
    told: float = 0.3
    difficulty: float = 0.8
    pool: tuple[int, int] = (5, 40)

    def __post_init__(self) -> None:
        if not self.ways or min(self.ways) < 2:
            raise InputError(f"{argument('ways')} {self.ways}: numbers of 2 or more are needed")
        if not self.shots or min(self.shots) < 0 or self.most_shots < 1:
            raise InputError(
                f"{argument('shots')} {self.shots}: numbers of 1 or more, or 0 for unequal, are needed"
            )
        if not 1 <= self.queries[0] <= self.queries[1]:
            raise InputError(f"{argument('queries')} {self.queries}: least and most, of 1 or more, are needed")
        if not self.alphas or any(alpha and not ALPHAS[0] <= alpha <= ALPHAS[1] for alpha in self.alphas):
            raise InputError(f"{argument('alphas')} {self.alphas}: 0, or {ALPHAS[0]:g} to {ALPHAS[1]:g} is needed")
        if not (0 <= self.told <= 1 and 0 <= self.difficulty < 1):
            raise InputError(f"{argument('told')} and {argument('difficulty')} are shares from 0 to 1")


def check_strength(strength: float) -> None:
    """Refuse what is no strength of embedding propagation.

    Raises:
        InputError: below 0, or 1 and more.
    """
    if not 0 <= strength < 1:
        raise InputError(f"{argument('strength')} {strength}: 0 (none) or more, and less than 1, is needed")
