"""Simulation-based calibration: is a truth from the prior where the posteriors of its own data say?"""

from typing import Any

from rich.table import Table

from pyro_sib.experiments.drawing.style import save_figure
from pyro_sib.experiments.job.config import claim_folder, config_of
from pyro_sib.experiments.job.records import of_this_version, read_object
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.sampling.sbc_figure import sbc_figure
from pyro_sib.experiments.sampling.sbc_settings import SBCJob, SBCSettings
from pyro_sib.experiments.sampling.simulation import Places, Simulation
from pyro_sib.experiments.terminal.decoration import Decorations
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import check_writable, write_json
from pyro_sib.scores.uniformity import Uniformity, uniformity
from pyro_sib.torch_state import plain_torch


@plain_torch()
def run(settings: SBCSettings, reporter: Reporter | None = None) -> dict[str, Any]:
    """Do the whole check, or show it again; returns the content of result.json.

    Raises:
        InputError: what the user can mend.
    """
    settings, reporter = settings.resolved(), reporter or Reporter()
    claim_folder(settings.out, settings)
    done = settings.out / "result.json"
    if done.exists():
        reporter.say(f"{done} is complete; shown again")
        result = read_object(done)
    else:
        check_writable(settings.out, "--out")
        result, places = _compute(settings, reporter)
        write_json(done, result)
        decorations = Decorations(reporter)
        with decorations.trying("sbc.png"):
            _draw(settings, places, result["judged"])
        decorations.note(done, result)
    with of_this_version(done):
        _show(result, reporter)
    reporter.say(f"everything is in {settings.out}/")
    return result


def judge(places: Places, level: float) -> dict[str, Any]:
    """Every quantity's test, and whether all pass together at `level` (Bonferroni)."""
    found = {name: uniformity(numbers) for name, numbers in places.items()}

    def least(p: str) -> float:
        return min(1.0, len(found) * min(getattr(u, p) for u in found.values()))

    spreads = [u.spread for u in found.values()]
    return {
        "calibrated": least("p_uniform") >= level,
        "p_uniform": least("p_uniform"),
        "p_symmetric": least("p_symmetric"),
        "spread": sum(spreads) / len(spreads),
        "worst": min(found, key=lambda name: (found[name].p_uniform, -abs(found[name].spread - 1))),
        "quantities": {name: _row(u) for name, u in found.items()},
    }


def _row(u: Uniformity) -> dict[str, float]:
    return {"p_uniform": u.p_uniform, "p_symmetric": u.p_symmetric, "spread": u.spread}


def _compute(settings: SBCJob, reporter: Reporter) -> tuple[dict[str, Any], dict[str, Places]]:
    simulation = Simulation(settings)
    places: dict[str, Places] = {}
    divergences = 0
    for method in settings.methods:
        with reporter.stage(method, f"{method}, {settings.replications} simulated tasks") as advance:
            if method == "nuts":
                w, divergences = simulation.nuts(advance)
                places[method] = simulation.ranks(w)
            else:
                places[method] = simulation.guide(method)
    judged = {method: judge(p, settings.level) for method, p in places.items()}
    result = {
        **config_of(settings),
        "judged": judged,
        "divergences": divergences,
        "places": {m: {name: values.round(6).tolist() for name, values in p.items()} for m, p in places.items()},
        "commit": commit(),
        "versions": versions(),
        "seconds": reporter.seconds,
    }
    return result, places


def _draw(settings: SBCJob, places: dict[str, Places], judged: dict[str, Any]) -> None:
    title = f"{settings.model} model, {settings.replications} tasks simulated by it"
    if settings.narrow != 1:
        title += f", posteriors narrowed to {settings.narrow:g} of their width"
    figure = sbc_figure(places, {method: row["worst"] for method, row in judged.items()}, title)
    save_figure(figure, settings.out / "sbc.png")


def _show(result: dict[str, Any], reporter: Reporter) -> None:
    table = Table(title=f"{result['model']} model, {result['replications']} simulated tasks")
    for column in ("method", "p, uniform", "p, symmetric", "spread", "verdict"):
        table.add_column(column, justify="left" if column in ("method", "verdict") else "right")
    for method, row in result["judged"].items():
        verdict = "calibrated" if row["calibrated"] else f"fails, {row['worst']} most"
        numbers = (f"{row['p_uniform']:.4f}", f"{row['p_symmetric']:.4f}", f"{row['spread']:.2f}")
        table.add_row(method, *numbers, verdict)
    reporter.show(table)
    reporter.say("p: least of all quantities times their number. spread: 1 calibrated, 2 intervals half as wide")
