"""The engine of the command piles: every cell and curve that is not yet measured, and the tables."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.other_domains.domain import Domain
from pyro_sib.experiments.other_domains.entrants import check_new_classes
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.opening import open_domains
from pyro_sib.experiments.piles import PilesSettings
from pyro_sib.experiments.piles_grid.curve import measure_curve
from pyro_sib.experiments.piles_grid.measure import measure_cell
from pyro_sib.experiments.piles_grid.methods import make_methods
from pyro_sib.experiments.piles_grid.record import PilesRecord, resumed
from pyro_sib.experiments.piles_grid.tables import markdown
from pyro_sib.experiments.piles_grid.tasks import PileDrawer, PileForm
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, read_json, write_text
from pyro_sib.inference.classifier import FewShotClassifier
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.settings.card import learner_path, read_learner_card
from pyro_sib.inference.unknown.unknown_class import FIRST, FITTED
from pyro_sib.torch_state import plain_torch


@plain_torch()
def measure_piles(settings: PilesSettings, reporter: Reporter | None = None) -> PilesRecord:
    """Measure what is not yet measured; returns what piles.json holds.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter, forms = reporter or Reporter(), settings.check()
    use_threads(settings)
    check_writable(settings.out, "--out")
    device = choose_device(settings.device)
    numbers = FITTED if settings.unknown is None else read_numbers(settings.unknown)
    classifier = FewShotClassifier(load_learner(settings.learner, device), device, numbers)
    domains = _domains(settings, forms, device, reporter)
    for domain in domains:
        if settings.measures_open and len(domain.split.class_names) <= settings.open_ways:
            raise InputError(
                f"--open-ways {settings.open_ways}: {domain.name} has {len(domain.split.class_names)} classes, so "
                f"none is left to be of no class; lower it, or give --unknown-share 0"
            )
    path = settings.out / "piles.json"
    record = resumed(path, _determines(settings, domains, numbers), {"commit": commit(), "versions": versions()})
    others = make_methods(settings.methods, classifier.card.learner.power)
    for domain in domains:
        for form in [] if settings.curve_alone else forms:
            own = form.form
            place = (domain.name, own.ways, own.shots, own.balance, form.pile, form.unknown)
            if place in {cell.place for cell in record.cells}:
                continue
            drawer = PileDrawer.of(domain.split, domain.fingerprint, form, settings.seed)
            counts = settings.tasks, settings.set_tasks, settings.draws, settings.coverage
            with reporter.stage("cells", f"{one_line(domain.name)}, {form.words()}") as advance:
                cell = measure_cell(domain.name, drawer, classifier, others, *counts, advance)
            record = replace(record, cells=(*record.cells, cell))
            record.write(path)
        if settings.curve_tasks and domain.name not in {curve.domain for curve in record.curves}:
            with reporter.stage("curve", f"{one_line(domain.name)}: what to label next") as advance:
                how = settings.ways, settings.curve_tasks, settings.draws, settings.seed
                curve = measure_curve(domain.name, domain.split, classifier, *how, advance)
            record = replace(record, curves=(*record.curves, curve))
            record.write(path)
    text = markdown(record)
    write_text(settings.out / "piles.md", text)
    reporter.say(text)
    reporter.say(f"{settings.out}/: piles.json, piles.md")
    return record


def read_numbers(path: Path) -> dict[str, float]:
    """The numbers of the class of what belongs to none, as train_unknown writes them.

    Raises:
        InputError: a file of something else.
    """
    raw = read_json(path)
    found = raw.get("numbers") if isinstance(raw, Mapping) else None
    if not isinstance(found, Mapping) or set(found) != set(FIRST):
        raise InputError(f"{path} does not hold the numbers that train_unknown writes; run it again")
    if odd := [name for name, value in found.items() if not isinstance(value, int | float)]:
        raise InputError(f"{path}: {odd[0]} is {found[odd[0]]!r:.20}, no number; run train_unknown again")
    return {name: float(value) for name, value in found.items()}


def _domains(settings: PilesSettings, forms: list[PileForm], device: Any, reporter: Reporter) -> list[Domain]:
    plain: list[Form] = list(dict.fromkeys(form.form for form in forms))
    of_features = settings.features, settings.network, None
    opened = open_domains(settings.domains, *of_features, plain, settings.cache_dir, device, reporter)
    check_new_classes([settings.learner], opened.folders)
    return opened.read()


def _determines(settings: PilesSettings, domains: list[Domain], numbers: Mapping[str, float]) -> dict[str, Any]:
    """What the numbers depend on, as JSON has it; not where things lie."""
    names = ("ways", "open_ways", "unknown_share", "tasks", "set_tasks", "curve_tasks", "coverage", "draws", "seed")
    lists = ("methods", "shots", "piles", "balances")
    return {
        "domains": [[domain.name, domain.fingerprint] for domain in domains],
        "learner": hashlib.sha256(learner_path(settings.learner).read_bytes()).hexdigest(),
        "power": read_learner_card(settings.learner).learner.power,
        "unknown": dict(numbers),
        **{name: getattr(settings, name) for name in names},
        **{name: list(getattr(settings, name)) for name in lists},
    }
