"""A finished run brought back from its folder: settings, data, features, tasks and the trained program."""

from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import Ground, choose_split, ground_of_learner, load_data
from pyro_sib.experiments.job.learner import LEARNER
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.settings import Job, RunSettings, said
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.options.data import reader_of
from pyro_sib.experiments.options.machine import choose_device
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.files import read_json
from pyro_sib.inference.learner_file import learner_path, load_learner
from pyro_sib.inference.program import Program
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch
from pyro_sib.typed_json import TypedReader


@dataclass(frozen=True)
class Restored:
    """A trained program and what it was trained and evaluated on.

    Attributes:
        settings: of the run, resolved.
        ground: data and features; after --tune-features, those of the network that stage 2 left.
        split: evaluated on.
        sources: tasks by purpose, as `make_sources` names them.
        program: with the best epoch's parameters, in evaluation mode.
        device: where the program is.
    """

    settings: Job
    ground: Ground
    split: str
    sources: dict[str, TaskSource]
    program: Program
    device: torch.device


@plain_torch()
def restore(
    folder: Path,
    reporter: Reporter,
    cache_dir: Path = Path("runs/cache"),
    data_root: Path | None = None,
    features: Path | None = None,
    device: str = "auto",
) -> Restored:
    """Bring a run back from its learner; the data are read for its tasks alone.

    Args:
        folder: of the run.
        reporter: told what is done.
        cache_dir: of decoded images and features.
        data_root: where the images are now, if they have moved.
        features: where the features are now, if they have moved.
        device: auto, cpu or cuda.

    Raises:
        InputError: no run there, not finished training, or of other data.
    """
    own = read_settings(folder)
    settings = replace(
        own,
        out=folder,
        cache_dir=cache_dir,
        data_root=said(data_root, own.data_root),
        features=said(features, own.features),
        device=device,
    ).resolved()
    done = folder / "result.json"
    where = folder / LEARNER if settings.learner is None else learner_path(settings.learner)
    for path in (where, done):
        if not path.is_file():
            raise InputError(
                f"{path} is missing; finish the run with `python -m experiments.run --out {folder} ...`"
            )
    found = choose_device(settings.device)
    learner = load_learner(where, found)
    if learner.card.learner != settings.learner_settings(learner.card.features):
        raise InputError(f"{where} is of other settings than {folder / 'config.json'}; run again elsewhere")
    data = load_data(settings, reporter)
    held = Result.read(done).data.fingerprint
    if held != data.fingerprint:
        raise InputError(f"{folder} is a run on other data (fingerprint {held}, here {data.fingerprint})")
    split = choose_split(data, settings)
    ground = ground_of_learner(learner, data, settings, found, reporter)
    sources = make_sources(ground.bank, settings, split, found)
    return Restored(settings, ground, split, sources, learner.program, found)


def read_settings(folder: Path) -> RunSettings:
    """What config.json says.

    Raises:
        InputError: it is missing or of another version of this package.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no run (no config.json); name a folder that `experiments.run` wrote")
    held = read_json(path)
    if not isinstance(held, dict) or "setting" not in held:
        raise InputError(f"{path} is no run's configuration; name a folder that `experiments.run` wrote")
    known = {field.name for field in fields(RunSettings)}
    if unknown := sorted(held.keys() - known):
        raise InputError(f"{path} has settings that this version does not know: {', '.join(unknown)}")
    defaults = {f.name: f.default for f in fields(RunSettings) if f.default is not MISSING}
    held |= {name: defaults[name] for name, value in held.items() if value is None and name in defaults}
    for name in ("data_root", "features"):
        if isinstance(held.get(name), str):
            held[name] = Path(held[name])
    if "data" in held:
        held["data"] = reader_of(held["data"])  # whether they are the run's own, their fingerprint says
    reader = TypedReader(str(path), "no run has written that: mend it, or run again elsewhere")
    held = {n: reader.read(hint, held[n], n) for n, hint in get_type_hints(RunSettings).items() if n in held}
    return RunSettings(**held)
