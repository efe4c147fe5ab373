"""Guides down, priors across: a grid's accuracies at a glance."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pyro_sib.experiments.comparison.row import Row
from pyro_sib.experiments.job.method import identity
from pyro_sib.experiments.terminal.tables import markdown_table

BY_PRIOR = ("prior", "kl_weight")
"""Settings in which the cells of a line may differ: the KL's default weight depends on the prior."""


def cross_table(rows: Sequence[Row], names: Callable[[list[Row]], list[str]]) -> str | None:
    """The main metric of every guide with every prior; guides that differ in another setting have own lines.

    Args:
        rows: of one setting and task size.
        names: what lines are called, from a row of each.

    Returns:
        Markdown, or None where no two lines have met two priors, or one has met the same prior twice.
    """
    found: dict[tuple[Any, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        if row.prior is None:
            continue
        line = found[identity({n: v for n, v in row.method.items() if n not in BY_PRIOR})]
        if row.prior in line:
            return None
        line[row.prior] = row
    # A baseline takes no notice of the prior that it is run beside, and is run beside one.
    crossed = [met for met in found.values() if len(met) > 1]
    if len(crossed) < 2:
        return None
    priors = list(dict.fromkeys(prior for met in crossed for prior in met))
    called = names([next(iter(met.values())) for met in crossed])
    lines = [[name, *(_cell(met.get(p), met) for p in priors)] for name, met in zip(called, crossed, strict=True)]
    return markdown_table(("guide", *priors), lines)


def _cell(cell: Row | None, line: Mapping[str, Row]) -> str:
    """Its accuracy, with the KL's weight where that differs along the line."""
    if cell is None:
        return "-"
    weights = {repr(other.method.get("kl_weight")) for other in line.values()}
    return cell.accuracy + (f" (kl {cell.method.get('kl_weight')})" if len(weights) > 1 else "")
