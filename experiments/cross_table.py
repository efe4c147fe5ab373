"""Guides down, priors across: a grid's accuracies at a glance."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from experiments.tables import markdown_table


class Cell(Protocol):
    """What is said of a run here, as `experiments.ablation.Row` says it."""

    @property
    def guide(self) -> str:
        """Its name, marked where it is an oracle."""

    @property
    def prior(self) -> str | None:
        """Its name, or None for a method without one."""

    @property
    def accuracy(self) -> str:
        """The main metric with its interval, percent."""


def cross_table(rows: Sequence[Cell]) -> str | None:
    """The main metric of every guide with every prior.

    Args:
        rows: of one setting and task size.

    Returns:
        Markdown, or None where no two guides have met two priors, or one has met the same prior twice.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if row.prior is None:
            continue
        if row.prior in found[row.guide]:
            return None
        found[row.guide][row.prior] = row.accuracy
    # A baseline takes no notice of the prior that it is run beside, and is run beside one.
    crossed = {guide: met for guide, met in found.items() if len(met) > 1}
    if len(crossed) < 2:
        return None
    priors = list(dict.fromkeys(prior for met in crossed.values() for prior in met))
    lines = [[guide, *(met.get(prior, "-") for prior in priors)] for guide, met in crossed.items()]
    return markdown_table(("guide", *priors), lines)
