"""Learners and simple methods measured on domains that nobody trained on, cell by cell."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from pyro_sib.experiments.domains import DomainsSettings
from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.other_domains.domain import Domain
from pyro_sib.experiments.other_domains.entrants import Entrant, check_new_classes, open_learners, simple_methods
from pyro_sib.experiments.other_domains.grid import Form
from pyro_sib.experiments.other_domains.measure import measure_cell
from pyro_sib.experiments.other_domains.opening import open_domains
from pyro_sib.experiments.other_domains.record import DomainsRecord, resumed
from pyro_sib.experiments.other_domains.summary import markdown, summarize
from pyro_sib.experiments.other_domains.tasks import TaskDrawer
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.escape import one_line
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_json, write_text
from pyro_sib.torch_state import plain_torch


@plain_torch()
def measure_domains(settings: DomainsSettings, reporter: Reporter | None = None) -> DomainsRecord:
    """Measure every cell that is not yet measured; returns what domains.json holds.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter, forms = reporter or Reporter(), settings.check()
    use_threads(settings)
    check_writable(settings.out, "--out")
    domains, entrants, features = _opened(settings, forms, choose_device(settings.device), reporter)
    if settings.told and not all(one.can_be_told for one in entrants):
        reporter.warn(
            "a learner of tasks of one size cannot be told of proportions; --told is for the other methods alone"
        )
    path = settings.out / "domains.json"
    record = resumed(path, _determines(settings, forms, domains, entrants, features), _made())
    for domain in domains:
        for form in forms:
            record = _with_cell(record, domain, form, entrants, settings, reporter)
    text = f"Features: {features}\n\n{markdown(record.cells, record.summary)}"
    write_text(settings.out / "domains.md", text)
    reporter.say(text)
    return _drawn(record, settings, reporter)


def _opened(
    settings: DomainsSettings, forms: list[Form], device: torch.device, reporter: Reporter
) -> tuple[list[Domain], list[Entrant], str]:
    """Domains, methods, and in words the features; what can be refused is, before pictures are decoded."""
    simple, cache = simple_methods(settings.methods, settings.power), settings.cache_dir
    of_features = settings.features, settings.network, settings.image_size
    opened = open_domains(settings.domains, *of_features, forms, cache, device, reporter)
    check_new_classes(settings.learners, opened.folders)
    network = opened.network, opened.features
    learners = open_learners(settings.learners, forms, settings.draws, *network, device, reporter, settings.ablate)
    return opened.read(), [*simple, *learners], opened.words


def _determines(
    settings: DomainsSettings,
    forms: Sequence[Form],
    domains: Sequence[Domain],
    entrants: Sequence[Entrant],
    features: str,
) -> dict[str, Any]:
    """What the numbers depend on, as JSON has it; not where things lie."""
    return {
        "features": features,
        "domains": [[domain.name, domain.fingerprint] for domain in domains],
        "methods": list(settings.methods),
        "learners": [[one.name, one.digest] for one in entrants if not one.simple],
        "cells": [[form.ways, form.shots, form.balance] for form in forms],
        **{name: getattr(settings, name) for name in ("queries", "tasks", "seed", "draws", "told", "power")},
        **({"ablate": True} if settings.ablate else {}),
        "told_learners": settings.told and all(one.can_be_told for one in entrants),
    }


def _made() -> dict[str, Any]:
    return {"commit": commit(), "versions": versions()}


def _with_cell(
    record: DomainsRecord,
    domain: Domain,
    form: Form,
    entrants: Sequence[Entrant],
    settings: DomainsSettings,
    reporter: Reporter,
) -> DomainsRecord:
    """The record with this cell, written where it is new."""
    if (domain.name, form.ways, form.shots, form.balance) in {cell.place for cell in record.cells}:
        return record
    drawer = TaskDrawer.of(domain.split, domain.fingerprint, form, settings.queries, settings.seed)
    with reporter.stage("cells", f"{one_line(domain.name)}, {form.words()}") as advance:
        cell = measure_cell(domain, drawer, entrants, settings.tasks, settings.told, advance)
    cells = (*record.cells, cell)
    record = replace(record, cells=cells, summary=summarize(cells), decoration_warnings=None)
    write_json(settings.out / "domains.json", record.to_json())
    return record


def _drawn(record: DomainsRecord, settings: DomainsSettings, reporter: Reporter) -> DomainsRecord:
    """With the picture, or a warning in its place."""
    decorations = Decorations(reporter)
    with decorations.trying("domains.png"):
        # Here, since matplotlib takes a second to import.
        from pyro_sib.experiments.drawing.style import save_figure
        from pyro_sib.experiments.other_domains.figure import gains_figure

        save_figure(gains_figure(record.cells), settings.out / "domains.png")
    decorations.note(settings.out / "domains.json", record.to_json())
    reporter.say(f"{settings.out}/: domains.json, domains.md, domains.png")
    return replace(record, decoration_warnings=tuple(decorations.warnings))
