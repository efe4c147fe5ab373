"""The sweep of kl_weight as a Markdown table: what the KL's weight does to accuracy, calibration and scales."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.method import FORM, exact, method_of
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table, result_files

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
class SweepSettings:
    """Print runs that differ in kl_weight as one table."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with result.json, or folders of such folders."""


def sweep(folders: list[Path]) -> str:
    """Markdown, one row a run, by kl_weight; what else tells two runs apart stands in front.

    Results without a posterior over w, or without what this version measures of it, are named below the table.

    Raises:
        InputError: no results, a damaged one, or none with a posterior.
    """
    rows, skipped = [], []
    for path in result_files(folders):
        try:
            result = Result.read(path)
        except InputError as error:
            skipped.append(f"- left out: {one_line(error)}")
            continue
        cells = _row(result)
        if cells is None:
            what = "was trained" if not result.trained else "has all terms of the bound"
            skipped.append(f"- left out: {one_line(path)}, {one_line(result.guide)} has no posterior that {what}")
        else:
            rows.append((result, cells))
    if not rows:
        raise InputError(f"no result of a run with a posterior: {skipped[0].removeprefix('- left out: ')}")
    rows.sort(key=lambda row: row[0].kl_weight or 0)
    names = _names([result for result, _ in rows])
    told = len(set(names)) > 1
    header = ("run", *HEADER) if told else HEADER
    shown = [[name, *cells] if told else cells for name, (_, cells) in zip(names, rows, strict=True)]
    table = markdown_table(header, shown)
    return "\n\n".join([table, *(["\n".join(skipped)] if skipped else [])]) + "\n"


def _names(results: list[Result]) -> list[str]:
    """What tells the runs apart beside their kl_weight: task, guide, settings, seed."""
    named = [{**{n: getattr(r, n) for n in FORM}, **method_of(r), "seed": r.seed} for r in results]
    differing = [
        name
        for name in dict.fromkeys(name for one in named for name in one)
        if name != "kl_weight" and len({exact(one.get(name)) for one in named}) > 1
    ]
    return [", ".join(f"{name} {one_line(one.get(name, '-'))}" for name in differing) for one in named]


def _row(result: Result) -> list[str] | None:
    """Cells; None where there is no trained posterior over w to tell them of."""
    mean, parts, scales = result.at_the_mean, result.elbo_parts, result.scales
    if not (result.trained and mean and parts and scales):
        return None
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


def main() -> int:
    """`python -m experiments.sweep RUNS...`."""
    settings = from_command_line(SweepSettings, "sweep")
    return run_command(lambda said: print(sweep(list(said.runs)), end=""), settings)


if __name__ == "__main__":
    sys.exit(main())
