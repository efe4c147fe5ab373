"""Results of runs as Markdown, laid out as the paper's Tables 1 and 2, the paper's figures beside ours."""

import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import tyro

from pyro_sib.data.names import HELD_OUT_AS_VAL
from pyro_sib.data.names import MINI_IMAGENET as PAPER_NAME
from pyro_sib.experiments.job.method import exact
from pyro_sib.experiments.job.result import METRICS
from pyro_sib.experiments.job.runs import LAMBDA_AT_ZERO, ONLY_ABOVE_ZERO, Run, read_runs
from pyro_sib.experiments.terminal.command import run_command
from pyro_sib.experiments.terminal.command_line import from_command_line
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.tables import markdown_table

SHOTS = (5, 1)
NOTED = ("guide", "prior", "kl_weight", "iterations", "tasks", "queries")
"""What the notes below a table repeat, and what comes first in a row's name."""
TABLES = {"val": "Table 1", "test": "Table 2"}
XI = "synthetic_gradient"
OF_STEPS = (XI, "support_gradient")
"""Settings that K = 0 has not, which tell nothing of a K above it."""
GROUPS = {"standard": "Standard few-shot classification", "lwof": "LwoF few-shot classification"}
PAPER_BACKBONE = "C128F"
PLAIN_HEADER = ("Method", "Task", "Novel", "Base", "Both", "Iterations")
PAPER_HEADER = ("Method", *(f"5-way-{s}-shot {m.capitalize()}" for s in SHOTS for m in METRICS), "Iterations")


def report(runs: list[Path], all_rows: bool = False) -> str:
    """Markdown of all results found at or below `runs`.

    Args:
        runs: folders with result.json, or folders of such folders.
        all_rows: also the paper's rows of other methods, other K and other backbones, whatever the data.

    Raises:
        InputError: no folder, no result.json, or one that is damaged or lacks a key.
    """
    found = read_runs(runs)
    tables: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in found:
        tables[run.result.split not in TABLES, run.result.split, tuple(map(repr, run.ground))].append(run)
    # The paper's order: validation, then test.
    ordered = sorted(tables, key=lambda key: (key[0], -ord(key[1][0]), key[2]))
    return "\n\n".join(_section(tables[key], all_rows) for key in ordered) + "\n"


def _section(runs: list[Run], all_rows: bool) -> str:
    """The tables of one split on one ground, and their notes."""
    split, (name, fingerprint, holdout, *_) = runs[0].result.split, runs[0].ground
    paper = paper_rows(split) if all_rows or is_papers(name, holdout) else []
    in_paper = [
        run for run in runs if run.result.ways == 5 and run.result.shots in SHOTS and run.result.setting in GROUPS
    ]
    plain = [run for run in runs if run not in in_paper]
    labels = _labels(runs)
    parts = [f"## {one_line(name)} ({fingerprint[:8]}), {split} split"]
    if in_paper:
        title = f"Average accuracy in percent, laid out as the paper's {TABLES.get(split, 'Table 1')}"
        parts += [title, markdown_table(PAPER_HEADER, _paper_layout(in_paper, labels, paper, all_rows))]
    if plain:
        parts += [
            "Other task sizes, average accuracy in percent",
            markdown_table(PLAIN_HEADER, _plain(plain, labels)),
        ]
    return "\n\n".join([*parts, "\n".join(f"- {one_line(note)}" for note in _notes(runs, labels, bool(paper)))])


def is_papers(name: str, holdout: str) -> bool:
    """Whether results on data of that name, base classes held out as `holdout` says, compare with the paper's."""
    return name == PAPER_NAME and HELD_OUT_AS_VAL not in holdout


def _paper_layout(
    runs: list[Run], labels: dict[tuple[Any, ...], str], paper: list[dict[str, str]], all_rows: bool
) -> list[list[str]]:
    rows = _paper_methods(paper, "-", "**Other methods, as the paper gives them**") if all_rows else []
    for setting, heading in GROUPS.items():
        ours = [run for run in runs if run.result.setting == setting]
        theirs = {row["method"]: _paper_cells(paper, setting, row["method"]) for row in paper}
        theirs = {method: cells for method, cells in theirs.items() if any(cells)}
        if not ours and not (all_rows and theirs):
            continue
        rows.append([f"**{heading}**", *[""] * 7])
        for steps in sorted({run.result.steps for run in ours} | ({0, 1, 3, 5} if all_rows else set())):
            for key, members in _by_method(run for run in ours if run.result.steps == steps).items():
                cells = [_cell([r for r in members if r.result.shots == s], m) for s in SHOTS for m in METRICS]
                rows.append([labels[key], *cells, str(members[0].row.get("iterations", "-"))])
            if (cells := theirs.pop(f"SIB T={steps}", [])) and any(cells):
                rows.append(_italic(f"SIB K={steps}, paper, {PAPER_BACKBONE}", cells))
        if all_rows:
            rows += [_italic(f"{m.replace('T=', 'K=')}, paper", cells) for m, cells in theirs.items()]
    return rows


def _plain(runs: list[Run], labels: dict[tuple[Any, ...], str]) -> list[list[str]]:
    rows = []
    for setting in sorted({run.result.setting for run in runs}, reverse=True):
        rows.append([f"**{GROUPS.get(setting, setting)}**", *[""] * 5])
        for ways, shots in sorted({run.form[1:] for run in runs if run.result.setting == setting}):
            here = (r for r in runs if r.form == (setting, ways, shots))
            for key, members in _by_method(here).items():
                cells = [_cell(members, metric) for metric in METRICS]
                iterations = str(members[0].row.get("iterations", "-"))
                rows.append([labels[key], f"{ways}-way-{shots}-shot", *cells, iterations])
    return rows


def _by_method(runs: Iterable[Run]) -> dict[tuple[Any, ...], list[Run]]:
    groups: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[run.same_row].append(run)
    return dict(sorted(groups.items(), key=lambda item: (item[1][0].result.steps, repr(item[0]))))


def _labels(runs: list[Run]) -> dict[tuple[Any, ...], str]:
    """A row's name: K and each setting in which the rows of its group differ."""
    labels = {}
    for run in runs:
        kind = (run.result.setting, run.result.trained)
        peers = [r for r in runs if (r.result.setting, r.result.trained) == kind]
        names = sorted({name for r in peers for name in r.row}, key=lambda n: (n not in NOTED, n))
        words = []
        for name in names:
            among = peers
            if name in (*ONLY_ABOVE_ZERO, *OF_STEPS):
                # K = 0 takes no steps, so its guide's name matters only beside a K = 0 equal in all else.
                among = [r for r in peers if (r.result.steps == 0) == (run.result.steps == 0)]
                among = [r for r in among if run.result.steps or r.agrees(run)]
            if name != "oracle" and run.row.get(name) is not None and _tells(name, run, among):
                words.append(f"{name} {_word(run.row[name])}")
        guide = run.row["guide"]
        method = "SIB" if guide in LAMBDA_AT_ZERO else guide
        if run.row.get("oracle"):
            method += " (oracle: sees the queries' labels)"
        labels[run.same_row] = ", ".join([f"{method} K={run.result.steps}", *words])
    return labels


def _tells(name: str, run: Run, among: list[Run]) -> bool:
    """Whether a setting differs among these runs, or is had by some of the same guide's alone."""
    had = {exact(r.row[name]) for r in among if name in r.row}
    return len(had) > 1 or any(name not in r.row for r in among if r.row["guide"] == run.row["guide"])


def _by_seed(runs: list[Run]) -> dict[int, list[Run]]:
    seeds: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        seeds[run.result.seed].append(run)
    return dict(sorted(seeds.items()))


def _cell(runs: list[Run], metric: str) -> str:
    """Mean and 95% interval of one seed; mean and standard deviation of the per-run means over several."""
    seeds = _by_seed([run for run in runs if metric in run.result.metrics])
    means = [fmean(run.result.metrics[metric].mean for run in same) for same in seeds.values()]
    if not means:
        return "-"
    if len(means) == 1:
        interval = fmean(run.result.metrics[metric].ci95 for run in next(iter(seeds.values())))
        return f"{means[0]:.2f} ± {interval:.2f}"
    return f"{fmean(means):.2f} ± {stdev(means):.2f} ({len(means)} seeds)"


def paper_rows(split: str) -> list[dict[str, str]]:
    """The rows of the paper's table of that split; columns as in data/paper_tables.csv, accuracies in percent."""
    text = resources.files("experiments").joinpath("data/paper_tables.csv").read_text(encoding="utf-8")
    return [row for row in csv.DictReader(text.splitlines()) if row["split"] == split]


def _paper_cells(paper: list[dict[str, str]], setting: str, method: str) -> list[str]:
    """Six cells; empty ones where the paper has no figure."""
    cells = {
        (int(row["shots"]), row["metric"]): f"{row['mean']} ± {row['ci95']}" if row["ci95"] else row["mean"]
        for row in paper
        if (row["setting"], row["method"]) == (setting, method)
    }
    return [cells.get((shots, metric), "") for shots in SHOTS for metric in METRICS]


def _paper_methods(paper: list[dict[str, str]], setting: str, heading: str) -> list[list[str]]:
    methods = dict.fromkeys(row["method"] for row in paper if row["setting"] == setting)
    rows = [_italic(method, _paper_cells(paper, setting, method)) for method in methods]
    return [[heading, *[""] * 7], *rows] if rows else []


def _italic(label: str, cells: list[str]) -> list[str]:
    return [f"*{label}*", *(f"*{cell}*" if cell else "-" for cell in cells), ""]


def _notes(runs: list[Run], labels: dict[tuple[Any, ...], str], paper: bool) -> list[str]:
    name, fingerprint, holdout, *_ = runs[0].ground
    notes = [f"data: {name}, fingerprint {fingerprint[:8]}; base classes: {holdout}", f"features: {_network(runs)}"]
    for setting in sorted({run.result.setting for run in runs}, reverse=True):
        here = [run for run in runs if run.result.setting == setting]
        guides = _values(r.row["guide"] for r in here if r.beside is None)
        unseen = {r.row.get("train_images") for r in here}
        words = [
            f"guide {guides}",
            *(f"xi {xis}" for xis in [_values(r.row[XI] for r in here if XI in r.row)] if xis),
            *(f"{n} {_values(r.row[n] for r in here if n in r.row)}" for n in NOTED[1:]),
            *["training tasks of held-out images"] * (unseen == {"held-out"}),
        ]
        seeds = _values(run.result.seed for run in here)
        commits = _values(_short(run.result.commit) for run in here)
        notes.append(f"{setting}: {', '.join(words)}, seeds {seeds}, commit {commits}")
    chosen = {(r.result.options.get("select_tasks"), r.result.selected_on) for r in runs if r.result.selected_on}
    notes += [
        f"best epochs are chosen on {tasks} other tasks of {where}" for tasks, where in sorted(chosen, key=str)
    ]
    beside: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        if run.beside is not None:
            beside[labels[run.same_row]].append(run)
    for label, members in beside.items():
        what = _values(f"{run.result.setting} {run.result.ways}-way-{run.result.shots}-shot" for run in members)
        notes.append(f"{label}, {what}: trained beside K={_values(r.beside for r in members)}, in the same runs")
    notes += _repeats(runs, labels)
    notes.append("± is the 95% interval over tasks, and with several seeds the sd over seeds of the runs' means")
    if paper:
        notes.append(
            f"rows in italics: the paper's own figures, with {PAPER_BACKBONE} (unless named otherwise) at 84 px, "
            "60,000 iterations and other images of the base classes"
        )
    elif not is_papers(name, holdout):
        notes.append(
            "the paper's figures are of mini-ImageNet's own classes and left out here; --all-rows adds them"
        )
    return notes


def _network(runs: list[Run]) -> str:
    """Which f all of these runs have: its architecture, the size of its images, its name, digest and accuracy."""
    first = runs[0].result
    if first.backbone is None:
        return "as given"
    words = [f"{first.backbone.upper()}, {first.data.image_size} px"]
    words += sorted({str(name) for run in runs if (name := run.result.options.get("network"))})
    if first.network_digest is not None:
        words.append(f"weights {first.network_digest[:8]}")
    known = {f"{run.result.base_accuracy:.1f}" for run in runs if run.result.base_accuracy is not None}
    words += [f"{' and '.join(sorted(known))}% of held-out images of base classes named rightly"] * bool(known)
    return ", ".join(words)


def _repeats(runs: list[Run], labels: dict[tuple[Any, ...], str]) -> list[str]:
    """A word on each seed that was run more than once with different results."""
    notes = []
    for ways, shots in sorted({run.form[1:] for run in runs}):
        for key, members in _by_method(r for r in runs if r.form[1:] == (ways, shots)).items():
            for seed, same in _by_seed(members).items():
                if len({repr(run.result.metrics) for run in same}) > 1:
                    folders = ", ".join(str(run.path) for run in same)
                    where = f"{labels[key]}, {same[0].result.setting} {ways}-way-{shots}-shot"
                    notes.append(
                        f"{where}: seed {seed} was run {len(same)} times ({folders}), averaged as one seed"
                    )
    return notes


def _values(values: Iterable[Any]) -> str:
    known = {_word(value): value for value in values}
    order = sorted(known.items(), key=lambda item: (_size(item[1]), item[0]))
    return ", ".join(word for word, _ in order)


def _size(value: Any) -> float:
    return value if isinstance(value, int | float) else -math.inf


def _word(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(commit: str | None) -> str:
    if commit is None:
        return "unknown"
    return commit.removesuffix("-dirty")[:7] + ("-dirty" if commit.endswith("-dirty") else "")


@dataclass(frozen=True)
class ReportSettings:
    """Print results as Markdown, laid out as the paper's Tables 1 and 2, with the paper's figures beside ours."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Folders with result.json, or folders of such folders."""
    all_rows: bool = False
    """Also print the paper's rows of other methods, K and backbones."""


def main() -> int:
    """`python -m experiments.report RUNS...`."""
    settings = from_command_line(ReportSettings, "report")
    return run_command(lambda said: print(report(list(said.runs), said.all_rows), end=""), settings)


if __name__ == "__main__":
    sys.exit(main())
