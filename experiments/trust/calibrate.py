"""How far to trust a run's predictions: calibration, selective prediction, and queries of unknown classes."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pyro_sib.errors import InputError
from pyro_sib.experiments.comparison.compare import base_tasks
from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.features import eval_tasks
from pyro_sib.experiments.job.restore import Restored, restore
from pyro_sib.experiments.job.result import Scores
from pyro_sib.experiments.job.results import commit
from pyro_sib.experiments.posterior.joint_tables import joint_tables
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.terminal.tables import markdown_table
from pyro_sib.experiments.trust.figures import reliabilities, risks, strangers_found
from pyro_sib.experiments.trust.predictors import TEMPERED_POINT, Predictor, predictors_of
from pyro_sib.experiments.trust.settings import CalibrateSettings
from pyro_sib.files import check_writable, write_json, write_text
from pyro_sib.inference import Guide
from pyro_sib.scores.calibration import area_under_risk, auroc, entropy, mutual_information, reliability
from pyro_sib.scores.metrics import TaskScores, mean_interval, score
from pyro_sib.scores.summary import MeanInterval
from pyro_sib.tasks.open_set import unknown_rows, with_unknown
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch

SCORES = ("max probability", "entropy", "mutual information")
"""By which unknown classes are told from known ones."""


@dataclass(frozen=True)
class Measured:
    """A predictor on one run's evaluation tasks.

    Attributes:
        run: name of the run's folder.
        predictor: what predicted.
        scores: of the tasks' own queries.
        known: by score, (T, Q) of the tasks' own queries when strangers were among them; larger is stranger.
        unknown: by score, (T, U) of the strangers.
    """

    run: str
    predictor: Predictor
    scores: TaskScores
    known: dict[str, Tensor]
    unknown: dict[str, Tensor]

    @property
    def name(self) -> str:
        """In figures."""
        return f"{self.run}: {self.predictor.name}"


@plain_torch()
def calibrate(settings: CalibrateSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Measure every run; returns what result.json holds.

    Raises:
        InputError: no run, one without a posterior, runs on other tasks, or impossible numbers.
    """
    reporter = reporter or Reporter()
    settings.check()
    check_writable(settings.out, "--out")
    names = names_of(settings.runs)
    measured: list[Measured] = []
    grounds = set()
    for number, folder in enumerate(settings.runs):
        back = _restored(folder, settings, reporter)
        grounds.add(back.ground.bank.fingerprint)
        if len(grounds) > 1:
            raise InputError(f"{folder} is of other data than {settings.runs[0]}; calibrate them apart")
        fitted = _restored(settings.fit_on[number], settings, reporter) if settings.fit_on else None
        measured += _measure(back, names[number], settings, reporter, fitted)
    records = [_record(m, measured[0], _tempered_point(m, measured)) for m in measured]
    text = _table(measured, records)
    result = {
        "tasks": len(measured[0].scores.nll),
        "rows": records,
        "commit": commit(),
        "draws": settings.draws,
        "fit_on": [str(f) for f in settings.fit_on],
        "fit_tasks": settings.fit_tasks,
    }
    write_text(settings.out / "table.md", text)
    write_json(settings.out / "result.json", result)
    reporter.say(text)
    decorations = Decorations(reporter)
    for name, draw in _FIGURES.items():
        with decorations.trying(f"{name}.png"):
            if (figure := draw(measured)) is not None:
                save_figure(figure, settings.out / f"{name}.png")
    decorations.note(settings.out / "result.json", result)
    reporter.say(f"{settings.out}/: table.md, result.json, {', '.join(f'{name}.png' for name in _FIGURES)}")
    return result


_FIGURES: dict[str, Callable[[list[Measured]], Figure | None]] = {
    "reliability": lambda measured: reliabilities(_predictions(measured)),
    "risk_coverage": lambda measured: risks(_predictions(measured)),
    "strangers": lambda measured: strangers_found({m.name: (m.known, m.unknown) for m in measured if m.known}),
}


def _predictions(measured: list[Measured]) -> dict[str, tuple[Tensor, Tensor]]:
    return {m.name: (m.scores.confidence, m.scores.correct) for m in measured}


def names_of(folders: Sequence[Path]) -> list[str]:
    """A name for each run, no two the same: its folder's, or the whole path where two folders have one name.

    Raises:
        InputError: a run given twice.
    """
    whole = [folder.resolve() for folder in folders]
    if len(set(whole)) < len(whole):
        twice = next(folder for folder in whole if whole.count(folder) > 1)
        raise InputError(f"{twice} is given twice; name each run once")
    short = [one_line(folder.name) for folder in whole]
    return short if len(set(short)) == len(short) else [one_line(folder) for folder in whole]


def _restored(folder: Path, settings: CalibrateSettings, reporter: Reporter) -> Restored:
    return restore(folder, reporter, settings.cache_dir, settings.data_root, settings.features, settings.device)


def _measure(
    back: Restored, name: str, settings: CalibrateSettings, reporter: Reporter, fitted: Restored | None
) -> list[Measured]:
    guide = back.program.guide
    assert isinstance(guide, Guide)
    tasks = settings.tasks or eval_tasks(back.settings, back.split)
    if fitted is None:
        teacher, what = guide, "base classes"
        source = base_tasks(back.ground.bank, back.settings, back.device, back.settings.query_balance)
    else:
        assert isinstance(fitted.program.guide, Guide)
        teacher, source = fitted.program.guide, fitted.sources["evaluate"]
        what = f"{fitted.settings.hold_out_classes} base classes held out"
    with reporter.stage("fit", f"{name}: temperature and width, on {settings.fit_tasks} tasks of {what}") as go:
        predictors = predictors_of(teacher, source, 0, settings.fit_tasks, settings.draws, go)
    with reporter.stage("predict", f"{name}: {tasks} tasks of {back.split}") as go:
        return _predict(guide, predictors, back.sources["evaluate"], tasks, name, go)


@torch.no_grad()
def _predict(
    guide: Guide,
    predictors: list[Predictor],
    source: TaskSource,
    tasks: int,
    name: str,
    advance: Callable[[int, int], None],
    batch_size: int = 50,
) -> list[Measured]:
    parts: list[list[TaskScores]] = [[] for _ in predictors]
    known: list[dict[str, list[Tensor]]] = [{s: [] for s in SCORES} for _ in predictors]
    unknown: list[dict[str, list[Tensor]]] = [{s: [] for s in SCORES} for _ in predictors]
    bare = replace(source, propagation=None, coordinates=None)
    for indices in torch.arange(tasks).split(batch_size):
        episode = source.episodes(indices)
        own = source.sampler.novel.y[source.sampler.sample(indices).support[:, :: source.sampler.shape.shots]]
        shape, ids = source.sampler.shape, episode.evidence.joint_base_ids
        rows = unknown_rows(source.sampler.novel, own, indices, shape.ways * shape.queries)
        mixed = with_unknown(bare.episodes(indices), source.novel[rows.to(source.novel.device)])
        mixed = source.prepared(mixed)
        queries = episode.evidence.queries
        for i, predictor in enumerate(predictors):
            draws = predictor(guide, guide.sees(episode))
            parts[i].append(score(draws.mean(0), episode.query_y, 0 if ids is None else ids.shape[1]))
            strange = _strangeness(predictor(guide, guide.sees(mixed)))
            for s, values in strange.items():
                known[i][s].append(values[:, :queries].cpu())
                unknown[i][s].append(values[:, queries:].cpu())
        advance(int(indices[-1]) + 1, tasks)
    return [
        Measured(
            name,
            predictor,
            TaskScores.join(parts[i]),
            {s: torch.cat(v) for s, v in known[i].items()},
            {s: torch.cat(v) for s, v in unknown[i].items()},
        )
        for i, predictor in enumerate(predictors)
    ]


def _strangeness(draws: Tensor) -> dict[str, Tensor]:
    """(draws, T, Q, C) -> by score, (T, Q)."""
    mean = draws.mean(0)
    return dict(zip(SCORES, (-mean.amax(-1), entropy(mean), mutual_information(draws)), strict=True))


def _tempered_point(of: Measured, measured: list[Measured]) -> Measured:
    """The same run's point guide with its temperature: what a posterior has to beat."""
    return next(m for m in measured if m.run == of.run and m.predictor.name == TEMPERED_POINT)


def _record(measured: Measured, first: Measured, point: Measured) -> dict[str, Any]:
    """One row of result.json; differences are paired by task, with the first row and the tempered point."""
    scores = measured.scores
    said = asdict(Scores.of(scores))
    curve = reliability(scores.confidence, scores.correct)
    means = {
        "accuracy": mean_interval(_accuracy(scores)),
        "nll": mean_interval(scores.nll),
        "brier": mean_interval(scores.brier),
        "accuracy_difference": mean_interval(_accuracy(scores) - _accuracy(first.scores)),
        "nll_difference": mean_interval(scores.nll - first.scores.nll),
        "accuracy_less_tempered_point": mean_interval(_accuracy(scores) - _accuracy(point.scores)),
        "nll_less_tempered_point": mean_interval(scores.nll - point.scores.nll),
    }
    return {
        "run": measured.run,
        **{name: asdict(value) for name, value in means.items()},
        "predictor": asdict(measured.predictor),
        "ece": curve.error,
        "ece_standard_error": curve.standard_error,
        "aurc": area_under_risk(scores.confidence, scores.correct),
        "auroc": {s: 100 * auroc(measured.unknown[s], measured.known[s]) for s in measured.known},
        "metrics": said["metrics"],
        "joint": said["joint"],
        "reliability": {
            "confidence": _numbers(curve.confidence),
            "accuracy": _numbers(curve.accuracy),
            "count": curve.count.tolist(),
        },
    }


def _accuracy(scores: TaskScores) -> Tensor:
    """(T,) percent, among all classes."""
    return scores.novel if scores.both is None else scores.both


def _numbers(values: Tensor) -> list[float | None]:
    """None for what an empty bin lacks: JSON has no NaN."""
    return [None if value != value else value for value in values.tolist()]


def _table(measured: list[Measured], records: list[dict[str, Any]]) -> str:
    """Markdown."""
    header = (
        "predictor",
        "accuracy",
        "paired",
        "ECE",
        "NLL",
        "less tempered point",
        "Brier",
        "AURC",
        *(f"AUROC, {s}" for s in SCORES),
    )
    rows = []
    several = len({m.run for m in measured}) > 1
    for m, r in zip(measured, records, strict=True):
        fitted = [f"T {m.predictor.temperature:.2f}"] if m.predictor.temperature != 1 else []
        fitted += [f"width x {m.predictor.widen:g}"] if m.predictor.widen != 1 else []
        name = (m.name if several else m.predictor.name) + (f" ({', '.join(fitted)})" if fitted else "")
        rows.append(
            [
                name,
                MeanInterval(**r["accuracy"]).words(2),
                MeanInterval(**r["accuracy_difference"]).words(2, sign=True),
                f"{r['ece']:.2f} ± {1.96 * r['ece_standard_error']:.2f}",
                MeanInterval(**r["nll"]).words(3),
                MeanInterval(**r["nll_less_tempered_point"]).words(4, sign=True),
                MeanInterval(**r["brier"]).words(3),
                f"{r['aurc']:.2f}",
                *(f"{r['auroc'][s]:.1f}" for s in SCORES),
            ]
        )
    notes = (
        "Accuracy, ECE, AURC and AUROC in percent, NLL in nats; ± is the 95% interval over tasks. Differences are "
        "paired by task: of accuracy with the first row, of NLL with the same run's tempered point. AUROC: of "
        "queries of unknown classes, as many as a task's own novel ones and mixed into its queries."
    )
    joint = {row[0]: r for row, r in zip(rows, records, strict=True) if r["joint"]}
    return "\n\n".join([markdown_table(header, rows), notes, *joint_tables(joint)]) + "\n"
