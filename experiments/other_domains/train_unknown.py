"""The fit of the class of what belongs to no class, from pictures to its numbers."""

from pathlib import Path

from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.other_domains.training_pictures import open_pictures
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.train_unknown import TrainUnknownSettings
from pyro_sib.files import write_json
from pyro_sib.inference.unknown.fit import UnknownSettings, fit_unknown
from pyro_sib.torch_state import plain_torch


@plain_torch()
def train_unknown(settings: TrainUnknownSettings, reporter: Reporter | None = None) -> Path:
    """Fit, and write unknown.json; returns its path.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter = reporter or Reporter()
    domains = open_pictures(settings, settings.out, None, reporter).domains
    how = UnknownSettings(settings.iterations, learning_rate=settings.learning_rate, seed=settings.seed)
    with reporter.stage("fit", f"{settings.iterations} batches of tasks") as advance:
        model, loss = fit_unknown(domains, how, advance)
    record = {
        "numbers": model.numbers(),
        "loss": loss,
        "domains": list(domains),
        "seed": settings.seed,
        "commit": commit(),
        "versions": versions(),
    }
    path = settings.out / "unknown.json"
    write_json(path, record)
    reporter.say(f"log loss {loss:.4f}; {path} holds the numbers")
    return path
