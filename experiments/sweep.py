"""The sweep of kl_weight as a Markdown table: what the KL's weight does to accuracy, calibration and scales."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.cli import run_command
from experiments.tables import markdown_table, result_files
from pyro_sib.errors import InputError
from pyro_sib.files import read_json

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
    """Markdown, one row a run, by kl_weight.

    Raises:
        InputError: no results, or one that lacks what the table shows.
    """
    found = [(path, read_json(path)) for path in result_files(folders)]
    try:
        return markdown_table(HEADER, [_row(r) for _, r in sorted(found, key=lambda f: f[1]["kl_weight"])]) + "\n"
    except KeyError as error:
        raise InputError(f"a result.json lacks {error}; run it again with this version") from None


def _row(result: dict[str, Any]) -> list[str]:
    metric = "both" if "both" in result["metrics"] else "novel"
    mean, parts, scales = result["at_the_mean"], result["elbo_parts"], result["scales"]
    cells = [result["metrics"][metric], mean["metrics"][metric]]
    return [
        f"{result['kl_weight']:g}",
        *(f"{cell['mean']:.2f} ± {cell['ci95']:.2f}" for cell in cells),
        f"{result['calibration']['ece']:.1f}",
        f"{mean['calibration']['ece']:.1f}",
        f"{result['calibration']['nll']:.3f}",
        f"{parts['log_likelihood']:.3f}",
        f"{parts['kl']:.4g}",
        f"{result['elbo']:.3f}",
        f"{parts['log_likelihood'] - parts['kl']:.4g}",
        f"{scales['q']:.4f}",
        f"{scales['q_norm']:.2f}",
        f"{scales['prior']:.4f}",
        f"{scales['predictor']:.1f}",
        ", ".join(f"{eta:.2f}" for eta in scales["step_size"]),
        str(result["iterations"]),
    ]


def main() -> int:
    """`python -m experiments.sweep RUNS...`."""
    settings = tyro.cli(SweepSettings, prog="python -m experiments.sweep")
    return run_command(lambda: print(sweep(list(settings.runs)), end=""))


if __name__ == "__main__":
    sys.exit(main())
