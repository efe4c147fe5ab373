"""The forms of the tasks that are measured: ways, labeled examples of each class, proportions of the queries."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from pyro_sib.errors import InputError, argument
from pyro_sib.experiments.job.limits import LIMITS
from pyro_sib.tasks.shape import QueryBalance, parse_balance

EVEN, UNEQUAL = "even", "unequal"
MOST_UNEQUAL = 10
"""Most labeled examples of a class where their number is drawn; the least is 1."""


@dataclass(frozen=True)
class Form:
    """The form of a cell's tasks.

    Attributes:
        ways: classes in a task (N).
        shots: labeled examples of each class, a number or `UNEQUAL`.
        balance: of the queries, `EVEN` or dirichlet:ALPHA.
    """

    ways: int
    shots: str
    balance: str

    def __post_init__(self) -> None:
        if not self.shots.isascii() or not (self.shots.isdecimal() or self.shots == UNEQUAL):
            raise InputError(
                f"{argument('shots')} {self.shots!r}: give numbers, or {UNEQUAL} for 1 to {MOST_UNEQUAL}"
            )
        if not LIMITS["shots"].admits(self.most_shots):
            raise InputError(f"{argument('shots')} {self.shots}: {LIMITS['shots'].words(self.most_shots)}")
        if self.balance.partition(":")[0] not in (EVEN, "dirichlet"):
            raise InputError(
                f"{argument('balances')} {self.balance!r}: choose {EVEN} or dirichlet:ALPHA, as dirichlet:2"
            )
        _ = self.proportions  # refuses a concentration that is none

    @property
    def most_shots(self) -> int:
        """The most labeled examples that a class has."""
        return MOST_UNEQUAL if self.shots == UNEQUAL else int(self.shots)

    @property
    def proportions(self) -> QueryBalance | None:
        """How the queries divide among the classes; None divides them evenly.

        Raises:
            InputError: a balance that is none.
        """
        return None if self.balance == EVEN else parse_balance(self.balance)

    @property
    def told(self) -> str | float:
        """What a method that is told the proportions knows: `EVEN`, or the concentration of the Dirichlet."""
        return EVEN if self.proportions is None else self.proportions.alpha

    def words(self) -> str:
        """In tables and titles."""
        shots = "1 to 10 shots" if self.shots == UNEQUAL else f"{self.shots}-shot"
        return f"{self.ways}-way {shots}, {self.balance}"


def forms(ways: Sequence[int], shots: Sequence[str], balances: Sequence[str]) -> list[Form]:
    """Every combination, each once.

    Raises:
        InputError: one of the lists is empty, or an entry is not what it should be.
    """
    for name, given in (("ways", ways), ("shots", shots), ("balances", balances)):
        if not given:
            raise InputError(f"{argument(name)} is empty; name at least one")
    plain = (str(int(one)) if one.isascii() and one.isdecimal() else one for one in shots)
    return list(dict.fromkeys(Form(*of) for of in product(ways, plain, balances)))
