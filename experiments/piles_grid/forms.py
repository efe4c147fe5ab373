"""The forms of tasks with piles of a given size, told without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyro_sib.experiments.other_domains.grid import Form, forms


@dataclass(frozen=True)
class PileForm:
    """The form of a cell's tasks.

    Attributes:
        form: classes, labeled examples, proportions.
        pile: pictures of the pile.
        unknown: share of the pile that belongs to no class of the task.
    """

    form: Form
    pile: int
    unknown: float = 0.0

    def words(self) -> str:
        """In tables and titles."""
        some = f", {100 * self.unknown:g}% of no class" if self.unknown else ""
        return f"{self.form.words()}, pile of {self.pile}{some}"


def pile_forms(
    ways: int, shots: Sequence[str], balances: Sequence[str], piles: Sequence[int], unknown: float = 0.0
) -> list[PileForm]:
    """Every combination of shots, balance and pile, `unknown` of it of no class."""
    return [PileForm(form, pile, unknown) for form in forms((ways,), shots, balances) for pile in piles]
