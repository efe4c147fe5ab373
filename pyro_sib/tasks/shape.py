"""The form of a task: its classes and examples, and how its queries divide among the classes."""

from dataclasses import dataclass

from pyro_sib.errors import InputError, argument

BALANCED = "balanced"


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


def check_strength(strength: float) -> None:
    """Refuse what is no strength of embedding propagation.

    Raises:
        InputError: below 0, or 1 and more.
    """
    if not 0 <= strength < 1:
        raise InputError(f"{argument('strength')} {strength}: 0 (none) or more, and less than 1, is needed")
