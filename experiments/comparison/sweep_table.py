"""Runs that differ in kl_weight, as a Markdown table."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.method import FORM, exact, method_of
from pyro_sib.experiments.job.records import read_column
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table, result_files
from pyro_sib.scores.summary import MeanInterval

HEADER = (
    "kl_weight",
    "accuracy, draws",
    "accuracy, mean of q",
    "ECE, draws",
    "ECE, mean",
    "NLL, draws",
    "E log p(y)",
    "KL (nats)",
    "weighted ELBO",
    "literal ELBO",
    "scale of q",
    "norm of w",
    "scale of p",
    "predictor",
    "eta",
    "iterations",
)


@dataclass(frozen=True)
class Weighed:
    """A run of the sweep.

    Attributes:
        name: what tells it apart beside its kl_weight.
        result: of the run.
        difference: of its main metric from the run of kl_weight 0 with the same name, paired by task, percent; None
            where there is no such run, or one of them has no tasks.csv.
    """

    name: str
    result: Result
    difference: MeanInterval | None


def weighed(folders: list[Path]) -> tuple[list[Weighed], list[str]]:
    """The runs by kl_weight, and in words those that are left out.

    Raises:
        InputError: no results, a damaged one, or none with a posterior.
    """
    found, skipped = [], []
    for path in result_files(folders):
        try:
            result = Result.read(path)
        except InputError as error:
            skipped.append(f"- left out: {one_line(error)}")
            continue
        if _complete(result):
            found.append((path, result))
        else:
            what = "was trained" if not result.trained else "has all terms of the bound"
            skipped.append(f"- left out: {one_line(path)}, {one_line(result.guide)} has no posterior that {what}")
    if not found:
        raise InputError(f"no result of a run with a posterior: {skipped[0].removeprefix('- left out: ')}")
    found.sort(key=lambda one: one[1].kl_weight or 0)
    names = _names([result for _, result in found])
    without = {name: path for name, (path, result) in zip(names, found, strict=True) if not result.kl_weight}
    return [
        Weighed(name, result, _difference(path, without.get(name), result.main))
        for name, (path, result) in zip(names, found, strict=True)
    ], skipped


def sweep(folders: list[Path]) -> str:
    """Markdown, one row a run, by kl_weight; what else tells two runs apart stands in front.

    Results without a posterior over w, or without what this version measures of it, are named below the table.

    Raises:
        InputError: no results, a damaged one, or none with a posterior.
    """
    return table(*weighed(folders))


def table(rows: list[Weighed], skipped: list[str]) -> str:
    """Markdown of what `weighed` found; the column of paired differences where there are any."""
    header, shown = list(HEADER), [_row(row.result) for row in rows]
    if any(row.difference for row in rows):
        header.append("less kl_weight 0, paired")
        for row, cells in zip(rows, shown, strict=True):
            cells.append(row.difference.words(sign=True) if row.difference else "-")
    if len({row.name for row in rows}) > 1:
        header.insert(0, "run")
        shown = [[row.name, *cells] for row, cells in zip(rows, shown, strict=True)]
    return "\n\n".join([markdown_table(tuple(header), shown), *(["\n".join(skipped)] if skipped else [])]) + "\n"


def _difference(path: Path, without: Path | None, metric: str) -> MeanInterval | None:
    """Mean over tasks of one run's metric less that of the run of weight 0."""
    files = [p.parent / "tasks.csv" for p in (path, without) if p is not None]
    if without is None or path == without or not all(file.is_file() for file in files):
        return None
    ours, theirs = (read_column(file, "posterior", metric) for file in files)
    if len(ours) != len(theirs) or len(ours) < 2:
        return None
    less = [a - b for a, b in zip(ours, theirs, strict=True)]
    return MeanInterval(fmean(less), 1.96 * stdev(less) / len(less) ** 0.5)


def _names(results: list[Result]) -> list[str]:
    """What tells the runs apart beside their kl_weight: task, guide, settings, seed."""
    named = [{**{n: getattr(r, n) for n in FORM}, **method_of(r), "seed": r.seed} for r in results]
    differing = [
        name
        for name in dict.fromkeys(name for one in named for name in one)
        if name != "kl_weight" and len({exact(one.get(name)) for one in named}) > 1
    ]
    return [", ".join(f"{name} {one_line(one.get(name, '-'))}" for name in differing) for one in named]


def _complete(result: Result) -> bool:
    """Whether there is a trained posterior over w, and all that the table tells of it."""
    return bool(result.trained and result.at_the_mean and result.elbo_parts and result.scales)


def _row(result: Result) -> list[str]:
    """Cells of the table."""
    mean, parts, scales = result.at_the_mean, result.elbo_parts, result.scales
    assert mean is not None, "the table is of complete results"
    assert parts is not None, "the table is of complete results"
    assert scales is not None, "the table is of complete results"
    return [
        f"{result.kl_weight:g}",
        *(cell.words() for cell in (s.metrics[result.main] for s in (result, mean))),
        f"{result.calibration.ece:.1f}",
        f"{mean.calibration.ece:.1f}",
        f"{result.calibration.nll:.3f}",
        f"{parts.log_likelihood:.3f}",
        f"{parts.kl:.4g}",
        f"{result.elbo:.3f}",
        f"{parts.log_likelihood - parts.kl:.4g}",
        f"{scales.q:.4f}",
        f"{scales.q_norm:.2f}",
        f"{scales.prior:.4f}",
        f"{scales.predictor:.1f}",
        ", ".join(f"{eta:.2f}" for eta in scales.step_size),
        str(result.iterations),
    ]
