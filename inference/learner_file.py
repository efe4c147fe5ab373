"""A trained learner as one file: all that classifies new tasks, and nothing that can run code."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_sib.backbones import make_backbone
from pyro_sib.data.images import Fit
from pyro_sib.errors import InputError
from pyro_sib.features.augment import MINI_IMAGENET_PIXELS, PixelStatistics
from pyro_sib.features.outside import OutsideNetwork, load_outside, source_of
from pyro_sib.files import read_meta, read_tensors, write_tensors
from pyro_sib.inference.program import LearnerSettings, Program, build_program
from pyro_sib.inference.training import TrainSettings, load_state
from pyro_sib.readable import finite
from pyro_sib.shipped import WEIGHTS, check_digest, find_file
from pyro_sib.tasks.propagation import Propagation
from pyro_sib.torch_state import plain_torch
from pyro_sib.typed_json import LATER, TypedReader

FORMAT = 2
"""Of the file; one of another number is refused."""
SHIPPED: dict[str, str] = {
    "mini-imagenet-c128f-1shot": "fd526f235efb59685617738559584f3eb7d858634202de089d538fed395b71a3",
    "mini-imagenet-c128f-5shot": "2c365f0da8e7e4af17d3e748e9899dcfa00fe76a052884cb5d2fb73ce79e45ce",
}
"""Name -> SHA-256 of the learner of that name in `pyro_sib/weights/learners/`."""

_FOLDER = WEIGHTS / "learners"
_BACKBONE, _BASE = "backbone", "base_weights"


@dataclass(frozen=True)
class PictureSettings:
    """How pictures become features.

    Attributes:
        backbone: name of the feature network's architecture.
        image_size: pixels a side.
        flips: whether each picture's features are averaged with those of its mirror image.
        pixels: mean and standard deviation by which pixels are normalized.
        fit: how pictures of another shape become squares, squashed whole or cropped at the centre.
        outside: the network that others trained, of which the file holds no weights; None for one whose weights
            it holds.
    """

    backbone: str
    image_size: int
    flips: bool = False
    pixels: PixelStatistics = MINI_IMAGENET_PIXELS
    fit: Fit = field(default="squash", metadata=LATER)
    outside: OutsideNetwork | None = field(default=None, metadata=LATER)


@dataclass(frozen=True)
class TaskSettings:
    """The tasks that a learner was trained on.

    Attributes:
        ways: novel classes in a task (N).
        shots: labeled examples of each (S).
        queries: unlabeled examples of each.
        balance: how the queries are spread over the classes: balanced, dirichlet:ALPHA or mixed:ALPHA.
    """

    ways: int
    shots: int
    queries: int
    balance: str = "balanced"


@dataclass(frozen=True)
class Measured:
    """One measured accuracy.

    Attributes:
        what: which queries, on which classes: "novel, val".
        accuracy: percent, the mean over tasks.
        ci95: half the width of its 95% interval.
        tasks: how many.
    """

    what: str
    accuracy: float
    ci95: float
    tasks: int


@dataclass(frozen=True)
class LearnerCard:
    """What a file says of the learner in it.

    Attributes:
        name: under which results speak of it.
        learner: the settings that build the program.
        features: number of features (D).
        pictures: how pictures become features, or None for a learner of the user's own features.
        propagation: strength by which a task's features are moved towards those like them; 0 is off.
        base_classes: names of the base classes, in the order of their weights; empty without base classes.
        tasks: that it was trained on.
        training: how long and how fast.
        draws: posterior draws that its measured predictions average.
        data: what it was trained on: name and fingerprint.
        measured: accuracies.
        made: commit, versions, command.
        licence: of the weights, and what they must not be used for.
    """

    name: str
    learner: LearnerSettings
    features: int
    pictures: PictureSettings | None
    propagation: float
    base_classes: tuple[str, ...]
    tasks: TaskSettings
    training: TrainSettings
    draws: int
    data: dict[str, Any]
    measured: tuple[Measured, ...]
    made: dict[str, Any]
    licence: str = ""

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"features should be 1 or more but is {self.features}")
        Propagation(self.propagation)


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
    """Write a learner as one safetensors file, atomically; of a feature network that others trained, the name.

    Args:
        path: of the file.
        learner: what to write.
        dtype: in which the feature network's floats are stored; all else is stored as it is.
    """
    tensors = {
        f"{name}.{key}": value
        for name, module in learner.program.modules().items()
        for key, value in module.state_dict().items()
    }
    if learner.backbone is not None and _outside(learner.card) is None:
        state = learner.backbone.state_dict()
        tensors |= {f"{_BACKBONE}.{k}": v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    if learner.base_weights is not None:
        tensors[_BASE] = learner.base_weights.clone()  # a mixture holds the same one
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
    card = _card(path, meta)
    if not all(finite(tensor) for tensor in tensors.values()):
        raise InputError(f"{path} holds numbers that are NaN or infinite; train the learner again")
    base = tensors.pop(_BASE, None)
    if base is not None:
        base = base.clone()  # where a tensor lies in a file decides on the last bits of products with it
    shape = (len(card.base_classes), card.features)
    if (base is None) != (not card.base_classes) or (base is not None and tuple(base.shape) != shape):
        found = "missing" if base is None else f"of shape {tuple(base.shape)}"
        raise InputError(f"{path}: the base classes' weights should be {shape} but are {found}; write it again")
    where, outside = torch.device(device), _load_outside(path, card)
    try:
        program = build_program(card.learner, card.features, base, where)
        own = None if card.pictures is None or _outside(card) else _backbone(card.pictures, where)
    except (InputError, ValueError) as error:
        raise InputError(f"{path} cannot be built by this version ({error}); write it again") from None
    modules: dict[str, nn.Module] = program.modules() | ({} if own is None else {_BACKBONE: own})
    _fill(path, modules, tensors)
    for module in modules.values():
        module.eval().requires_grad_(False)
    return TrainedLearner(program, own if outside is None else outside.to(where), base, card)


def read_learner_card(name: str | Path) -> LearnerCard:
    """What a learner's file says of it, without reading the weights.

    Raises:
        InputError: an unknown name, a file that is missing, damaged or of another format.
    """
    path = learner_path(name)
    return _card(path, read_meta(path))


def learner_path(name: str | Path) -> Path:
    """The file of a learner.

    Raises:
        InputError: there is none.
    """
    return find_file(str(name), SHIPPED, _FOLDER, "learner")


def _card(path: Path, meta: Mapping[str, Any]) -> LearnerCard:
    number = meta.get("learner")
    if number is None:
        raise InputError(f"{path} is no learner; name the learner.safetensors that a training wrote")
    if number != FORMAT:
        raise InputError(
            f"{path} is a learner of format {number!r:.20}, and this version reads {FORMAT}; write it again"
        )
    reader = TypedReader(str(path), "write it again", exact=True)
    try:
        card: LearnerCard = reader.read(LearnerCard, meta.get("card"))
    except ValueError as error:
        said = str(error)
        raise InputError(said if said.startswith(str(path)) else f"{path}: {said}; write it again") from None
    return card


def _outside(card: LearnerCard) -> OutsideNetwork | None:
    return None if card.pictures is None else card.pictures.outside


def _load_outside(path: Path, card: LearnerCard) -> nn.Module | None:
    """The feature network that the file names in place of holding its weights."""
    named = _outside(card)
    if named is None:
        return None
    try:
        source_of(named)
        return load_outside(named.name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


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
