"""The classify command: pictures to features, features to predictions, and the files that tell of them."""

import hashlib
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from pyro_sib.experiments.classify import ClassifySettings, is_features_file
from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.own_pictures.composition import composition
from pyro_sib.experiments.own_pictures.gather import classes_of, gather, list_sources
from pyro_sib.experiments.own_pictures.judge import Judge, rehearse
from pyro_sib.experiments.own_pictures.left_out import leave_out
from pyro_sib.experiments.own_pictures.links import FOLDER, write_links
from pyro_sib.experiments.own_pictures.outcome import Outcome, predictions_csv, strange_ones, what_next, whom_to_ask
from pyro_sib.experiments.own_pictures.own_features import read_by_path
from pyro_sib.experiments.own_pictures.page import report_html
from pyro_sib.experiments.own_pictures.proportions import read_proportions
from pyro_sib.experiments.terminal.again import command_line_of
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_atomically, write_json, write_text
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.networks.other_features import with_features
from pyro_sib.inference.settings.card import learner_path
from pyro_sib.torch_state import plain_torch

PREDICTIONS, RECORD, PAGE, POSTERIOR = "predictions.csv", "learner.json", "report.html", "posterior.nc"


@plain_torch()
def classify(settings: ClassifySettings, reporter: Reporter | None = None) -> Outcome:
    """Classify the pile and write predictions.csv, learner.json and report.html.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter = reporter or Reporter()
    use_threads(settings)
    device = choose_device(settings.device)
    table = read_by_path(Path(settings.features)) if is_features_file(settings.features) else None
    trained = load_learner(settings.learner, device)
    if settings.features and table is None:
        trained = with_features(trained, settings.features, device)
    classifier = FewShotClassifier(trained, device)
    sources = list_sources(settings, classifier.card, table)
    classes = classes_of(sources[0])
    proportions = read_proportions(settings.proportions, classes)
    rehearse(classifier, classes, proportions)
    check_writable(settings.out, "--out")
    check_writable(settings.cache_dir, "--cache-dir")
    labeled, pile, left = gather(settings, sources, classifier, reporter, table)
    for line in left.lines():
        reporter.say(one_line(line))
    judge = Judge(classifier, pile, settings.draws, settings.seed, proportions)
    with reporter.stage("classify", f"{len(pile)} pictures classified"):
        judged = judge.judge(labeled)
    with reporter.stage("leave out", "labeled pictures left out in turn") as advance:
        checked = leave_out(judge, labeled, settings.coverage, advance)
    outcome = Outcome(
        labeled,
        pile,
        left,
        judged,
        checked,
        composition(judged.each, judged.none),
        whom_to_ask(judged, checked, settings.ask_below),
        strange_ones(judged, settings.none_above),
        what_next(judged, labeled, pile, settings.to_label),
    )
    _write(outcome, settings, classifier, reporter)
    return outcome


def _write(outcome: Outcome, settings: ClassifySettings, classifier: FewShotClassifier, reporter: Reporter) -> None:
    out, decorations = settings.out, Decorations(reporter)
    write_text(out / PREDICTIONS, predictions_csv(outcome))
    when = datetime.now().astimezone().isoformat(timespec="minutes")
    record = _record(outcome, settings, classifier, reporter, when)
    write_json(out / RECORD, record)
    with decorations.trying(PAGE):
        write_text(out / PAGE, report_html(outcome, settings, classifier.card, when[:10]))
    if settings.links:
        with decorations.trying(FOLDER):
            write_links(outcome, out)
    if settings.posterior:
        with decorations.trying(POSTERIOR):
            _write_posterior(outcome, settings)
    decorations.note(out / RECORD, record)
    asked, strange = int((outcome.ask & ~outcome.strange).sum()), int(outcome.strange.sum())
    reporter.say(
        f"{len(outcome.pile)} pictures classified, {asked} of them for a person to look at"
        + f" and {strange} perhaps of no class" * bool(strange)
    )
    reporter.say(f"{out / PAGE} shows them, {out / PREDICTIONS} lists them")


def _write_posterior(outcome: Outcome, settings: ClassifySettings) -> None:
    """One file, or one for each part of a large pile."""
    parts = outcome.judged.parts
    for number, part in enumerate(parts, 1):
        name = POSTERIOR if len(parts) == 1 else POSTERIOR.replace(".", f"-{number}.")
        write_atomically(settings.out / name, part.to_arviz().to_netcdf)


def _record(
    outcome: Outcome, settings: ClassifySettings, classifier: FewShotClassifier, reporter: Reporter, when: str
) -> dict[str, Any]:
    """All that repeats it, and what came out in short."""
    checked, card = outcome.checked, classifier.card
    digest = hashlib.sha256(learner_path(settings.learner).read_bytes()).hexdigest()
    return {
        "command": command_of(settings),
        "when": when,
        "settings": {name: _plain(value) for name, value in asdict(settings).items()},
        "learner": {"name": card.name, "given": settings.learner, "sha256": digest, "licence": card.licence},
        "commit": commit(),
        "versions": versions() | {"python": sys.version.split()[0]},
        "device": str(classifier.device),
        "seconds": reporter.seconds,
        "labeled": len(outcome.labeled),
        "classified": len(outcome.pile),
        "left_out": asdict(outcome.left),
        "left_out_in_turn": {"examples": len(checked.truth), "right": checked.right, "folds": checked.folds},
        "conformal_sets": checked.sets is not None,
        "proportions": {name: _share(outcome, n) for n, name in enumerate(outcome.judged.classes)},
        "none_of_these": None if outcome.judged.none is None else _share(outcome, -1),
        "to_label_next": [outcome.pile[row].name for row in outcome.next],
    }


def _share(outcome: Outcome, number: int) -> dict[str, float]:
    low_to_high = (float(part[number]) for part in outcome.composition)
    return dict(zip(("mean", "low", "high"), low_to_high, strict=True))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | str | None) else str(value)


def command_of(settings: ClassifySettings) -> str:
    """The command line that has these settings."""
    return command_line_of("classify", settings)
