"""A finished run brought back from its folder: settings, data, features, tasks and the trained program."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import get_type_hints

import torch
from torch import Tensor, nn

from pyro_sib.data import BASE_TRAIN
from pyro_sib.errors import InputError
from pyro_sib.experiments.job.features import Ground, choose_device, choose_split, load_data, prepare
from pyro_sib.experiments.job.limits import fits
from pyro_sib.experiments.job.result import Result
from pyro_sib.experiments.job.settings import RunSettings
from pyro_sib.experiments.job.tasks import make_sources
from pyro_sib.experiments.terminal.progress import Reporter
from pyro_sib.features.bank import build_bank
from pyro_sib.files import read_json, read_tensors
from pyro_sib.inference.program import FeatureNetwork, Program, build_program
from pyro_sib.inference.training import load_state
from pyro_sib.readable import finite
from pyro_sib.tasks.source import TaskSource
from pyro_sib.torch_state import plain_torch

CHECKPOINT = "sib.safetensors"
"""Stage 2's checkpoint in a run's folder."""


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

    settings: RunSettings
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
    """Bring a run back; stage 1 comes from the cache where it is there, and is trained again where not.

    Args:
        folder: of the run.
        reporter: told what is done.
        cache_dir: of images, backbones and features.
        data_root: where the images are now, if they have moved.
        features: where the features are now, if they have moved.
        device: auto, cpu or cuda.

    Raises:
        InputError: no run there, not finished training, or of other data.
    """
    settings = replace(read_settings(folder), out=folder, cache_dir=cache_dir, device=device)
    if data_root is not None:
        settings = replace(settings, data_root=data_root)
    if features is not None:
        settings = replace(settings, features=features)
    settings = settings.resolved()
    checkpoint, done = folder / CHECKPOINT, folder / "result.json"
    for path in (checkpoint, done):
        if not path.is_file():
            raise InputError(
                f"{path} is missing; finish the run with `python -m experiments.run --out {folder} ...`"
            )
    found = choose_device(settings.device)
    data = load_data(settings, reporter)
    held = Result.read(done).data.fingerprint
    if held != data.fingerprint:
        raise InputError(f"{folder} is a run on other data (fingerprint {held}, here {data.fingerprint})")
    split = choose_split(data, settings)
    ground = prepare(data, settings, split, found, reporter)
    width = ground.bank.split(BASE_TRAIN).x.shape[1]
    program = build_program(settings.learner_settings(width), width, ground.base_weights, found)
    tensors, _ = read_tensors(checkpoint)
    best = {name.removeprefix("best."): t for name, t in tensors.items() if name.startswith("best.")}
    if not all(finite(tensor) for tensor in best.values()):
        raise InputError(f"{checkpoint} holds parameters that are NaN or infinite; delete it and train again")
    if settings.tune_features and ground.network is not None:
        _load({"features": FeatureNetwork(ground.network.backbone)}, best, checkpoint)
        ground = replace(ground, bank=build_bank(data, ground.network.backbone, found, cache_dir / "banks"))
    _load(program.modules(), best, checkpoint)
    for module in program.modules().values():
        module.eval()
    return Restored(settings, ground, split, make_sources(ground.bank, settings, split, found), program, found)


def _load(modules: Mapping[str, nn.Module], best: Mapping[str, Tensor], checkpoint: Path) -> None:
    try:
        load_state(modules, best)
    except RuntimeError:
        raise InputError(f"{checkpoint} is of another version of this package; train it again") from None


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
    held |= {name: tuple(value) for name, value in held.items() if isinstance(value, list)}
    for name in ("data_root", "features"):
        if isinstance(held.get(name), str):
            held[name] = Path(held[name])
    for name, hint in get_type_hints(RunSettings).items():
        if name in held and not fits(held[name], hint):
            raise InputError(
                f"{path}: {name} is {held[name]!r:.80}, which no run has written; mend it, or run again elsewhere"
            )
    return RunSettings(**held)
