"""A trained learner as one file: all that classifies new tasks, and nothing that can run code."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pyro_sib.backbones import make_backbone
from pyro_sib.errors import InputError
from pyro_sib.features import network_card as networks
from pyro_sib.features.network_file import load_network
from pyro_sib.features.outside import source_of
from pyro_sib.features.outside_file import load_outside
from pyro_sib.inference.program import Program, build_program
from pyro_sib.inference.settings.card import FORMAT, SHIPPED, LearnerCard, PictureSettings, card_of, learner_path
from pyro_sib.inference.training import load_state
from pyro_sib.readable import finite
from pyro_sib.shipped import check_digest
from pyro_sib.tensor_files import read_tensors, write_tensors
from pyro_sib.torch_state import plain_torch

_BACKBONE, _BASE = "backbone", "base_weights"


@dataclass(frozen=True)
class TrainedLearner:
    """A program with its feature network, in evaluation mode and constant.

    Attributes:
        program: prior, likelihood, model and guide.
        backbone: (n, 3, S, S) normalized pixels -> (n, D), or None for a learner of features.
        base_weights: (B, D) unit weights of the base classes as stage 1 left them, or None without base classes.
        card: what is known of it.
    """

    program: Program
    backbone: nn.Module | None
    base_weights: Tensor | None
    card: LearnerCard


def save_learner(path: Path, learner: TrainedLearner, dtype: torch.dtype = torch.float32) -> None:
    """Write a learner as one safetensors file, atomically.

    Of a feature network that others trained, or that comes with the project and is named in the card, the file
    holds the name alone.

    Args:
        path: of the file.
        learner: what to write.
        dtype: in which the floats of the feature network, and those that the learner has for each base class and
            feature, are stored; all else is stored as it is.
    """
    tensors = {
        f"{name}.{key}": value
        for name, module in learner.program.modules().items()
        for key, value in module.state_dict().items()
    }
    by_class = (len(learner.card.base_classes), learner.card.features)
    tensors = {k: v.to(dtype) if tuple(v.shape) == by_class else v for k, v in tensors.items()}
    if learner.backbone is not None and _holds_network(learner.card):
        state = learner.backbone.state_dict()
        tensors |= {f"{_BACKBONE}.{k}": v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    if learner.base_weights is not None:
        tensors[_BASE] = learner.base_weights.clone().to(dtype)  # a mixture holds the same one
    write_tensors(path, tensors, {"learner": FORMAT, "card": asdict(learner.card)})


@plain_torch()
def load_learner(name: str | Path, device: torch.device | str = "cpu") -> TrainedLearner:
    """Read a learner from its file, or one that comes with the project by its name.

    Nothing in the file can run code. No data set, cache or training is needed.

    Args:
        name: path of a file that `save_learner` wrote, or one of `SHIPPED`.
        device: where it computes.

    Raises:
        InputError: an unknown name; a file that is missing, truncated, of another format, or whose tensors do not
            fit its card; a feature network that others trained and that is not installed.
    """
    path = learner_path(name)
    tensors, meta = read_tensors(path)
    check_digest(path, str(name), SHIPPED)
    card = card_of(path, meta)
    if not all(finite(tensor) for tensor in tensors.values()):
        raise InputError(f"{path} holds numbers that are NaN or infinite; train the learner again")
    base = tensors.pop(_BASE, None)
    if base is not None:
        base = base.float().clone()  # where a tensor lies in a file decides on the last bits of products with it
    shape = (len(card.base_classes), card.features)
    if (base is None) != (not card.base_classes) or (base is not None and tuple(base.shape) != shape):
        found = "missing" if base is None else f"of shape {tuple(base.shape)}"
        raise InputError(f"{path}: the base classes' weights should be {shape} but are {found}; write it again")
    where, named = torch.device(device), _load_named(path, card.pictures)
    try:
        program = build_program(card.learner, card.features, base, where)
        own = _backbone(card.pictures, where) if card.pictures and _holds_network(card) else None
    except (InputError, ValueError) as error:
        raise InputError(f"{path} cannot be built by this version ({error}); write it again") from None
    modules: dict[str, nn.Module] = program.modules() | ({} if own is None else {_BACKBONE: own})
    _fill(path, modules, tensors)
    for module in modules.values():
        module.eval().requires_grad_(False)
    return TrainedLearner(program, own if named is None else named.to(where), base, card)


def _holds_network(card: LearnerCard) -> bool:
    return card.pictures is not None and card.pictures.holds_network


def _load_named(path: Path, pictures: PictureSettings | None) -> nn.Module | None:
    """The feature network that the file names in place of holding its weights."""
    if pictures is None or pictures.holds_network:
        return None
    try:
        if pictures.outside is not None:
            source_of(pictures.outside)
            return load_outside(pictures.outside.name)
        return _shipped(pictures)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _shipped(pictures: PictureSettings) -> nn.Module:
    named = pictures.shipped
    assert named is not None
    if networks.SHIPPED.get(named.name) != named.sha256:
        raise InputError(
            f"its feature network {named.name}, SHA-256 {named.sha256:.12}, does not come with this version; "
            f"install the one that wrote the file"
        )
    return load_network(named.name)[0].backbone.to(memory_format=torch.channels_last)


def _backbone(pictures: PictureSettings, device: torch.device) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
        backbone = make_backbone(pictures.backbone, pictures.image_size).to(device)
    return backbone.to(memory_format=torch.channels_last)


def _fill(path: Path, modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Load the tensors, of which each must be some module's."""
    if foreign := sorted(name for name in tensors if name.split(".")[0] not in modules):
        raise InputError(f"{path}: the tensor {foreign[0]} belongs to no part of this learner; write it again")
    try:
        load_state(modules, tensors)
    except RuntimeError as error:
        first = " ".join(str(error).splitlines()[-1].split())
        raise InputError(f"{path}: the tensors do not fit the settings ({first}); write it again") from None
