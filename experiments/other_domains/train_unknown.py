"""The fit of the class of what belongs to no class, from pictures to its numbers."""

from pathlib import Path

from pyro_sib.experiments.job.device import choose_device, use_threads
from pyro_sib.experiments.job.results import commit, versions
from pyro_sib.experiments.other_domains.domain import features_of
from pyro_sib.experiments.other_domains.folders import find_domains
from pyro_sib.experiments.other_domains.network import open_network
from pyro_sib.experiments.other_domains.train_any import known_split
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.experiments.train_unknown import TrainUnknownSettings
from pyro_sib.files import check_writable, write_json
from pyro_sib.inference.unknown.fit import UnknownSettings, fit_unknown
from pyro_sib.tasks.any_task import Domain
from pyro_sib.torch_state import plain_torch


@plain_torch()
def train_unknown(settings: TrainUnknownSettings, reporter: Reporter | None = None) -> Path:
    """Fit, and write unknown.json; returns its path.

    Raises:
        InputError: what the user can mend; raised before long work wherever it can be known.
    """
    reporter = reporter or Reporter()
    settings.check()
    use_threads(settings)
    check_writable(settings.out, "--out")
    device = choose_device(settings.device)
    network = open_network(settings.network, None, device)
    folders = find_domains(settings.domains) if settings.domains else []
    domains: dict[str, Domain] = {}
    if settings.known is not None:
        domains["known"] = Domain(known_split(settings, network, device, reporter), known=True)
    for folder in folders:
        domains[folder.name] = Domain(features_of(folder, network, settings.cache_dir, device, reporter))
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
