"""A finished run brought back from its folder: settings, data, features, tasks and the trained program."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pyro_sib.errors import InputError
from pyro_sib.experiments.job.config import read_settings
from pyro_sib.experiments.job.device import choose_device
from pyro_sib.experiments.job.features import Ground, choose_split, ground_of_learner, load_data
from pyro_sib.experiments.job.learner import LEARNER
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.settings import Job, said
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.inference.learner_file import load_learner
from pyro_sib.inference.program import Program
from pyro_sib.inference.settings.card import learner_path
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch


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
    if learner.card.learner != settings.learner_settings():
        raise InputError(f"{where} is of other settings than {folder / 'config.json'}; run again elsewhere")
    data = load_data(settings, reporter)
    held = Result.read(done).data.fingerprint
    if held != data.fingerprint:
        raise InputError(f"{folder} is a run on other data (fingerprint {held}, here {data.fingerprint})")
    split = choose_split(data, settings)
    ground = ground_of_learner(learner, data, settings, found, reporter)
    sources = make_sources(ground.bank, settings, split, found)
    return Restored(settings, ground, split, sources, learner.program, found)
