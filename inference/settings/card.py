"""What the file of a trained learner says of it, and the learners that come with the project."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_sib.data.names import Fit
from pyro_sib.errors import InputError
from pyro_sib.features.outside import OutsideNetwork
from pyro_sib.features.pixels import MINI_IMAGENET_PIXELS, PixelStatistics
from pyro_sib.files import read_meta
from pyro_sib.inference.settings import LearnerSettings
from pyro_sib.inference.settings.training import TrainSettings
from pyro_sib.shipped import WEIGHTS, find_file
from pyro_sib.tasks.shape import TaskDistribution, check_strength
from pyro_sib.typed_json import LATER, TypedReader

FORMAT = 2
"""Of the file; one of another number is refused."""


SHIPPED: dict[str, str] = {
    "lite0": "8ef17ed51ccc0a5a8ff28b4064d1bb94f5035b99729ad756a9d6f89ac09058e7",
    "mini-imagenet-resnet12-1shot": "060199c3be24bbcde51f7c48ac1dc76aa068ceeed622a3ee88bf9d3bde9cd51a",
    "mini-imagenet-resnet12-5shot": "ef41f1d18d0c1f49ecf8ca2f90ad60a7d6f27a0b888eb98b1668a9161ce7689a",
    "mini-imagenet-resnet12-1shot-mlp": "ec5c74bdf76fa9c4a2c20f8e589580e69f1a675d7c52ddc13ff9a385c7af171c",
    "mini-imagenet-resnet12-5shot-mlp": "552f36352619c796f752fc5336bc7afed35ab9cc50d1cea7aa772fd6c4cffaa1",
    "mini-imagenet-resnet12-1shot-lwof": "7e86caa5470a1dcd908ee3cff467cfe83685b7fe1bcfa126f2d1bc411a2621ea",
    "mini-imagenet-resnet12-5shot-lwof": "ac36306868062912686f0499bfc817f4132f75ce42752226ae702945ccfd3a0b",
    "mini-imagenet-resnet12-1shot-lwof-mlp": "80df708bab83ef29af4948fe2606b3a2513f261751a6a3bc27a51cc11e09f20d",
    "mini-imagenet-resnet12-5shot-lwof-mlp": "4857b8819cdc377c44c9293985464298d25415c59847a25fe04d6d7b671bba9f",
    "mini-imagenet-c128f-1shot": "0d968df040a9e55c7151c3ebbde0de09a9ce72f982db4b2efc859cb4c466b2d8",
    "mini-imagenet-c128f-5shot": "25a6daf245bef0157b6c803ee8c854892a86f6f9bb6099cf7117c5a87e4d97a8",
}
"""Name -> SHA-256 of the learner of that name in `pyro_sib/weights/learners/`."""


_FOLDER = WEIGHTS / "learners"


@dataclass(frozen=True)
class ShippedNetwork:
    """A feature network that comes with the project.

    Attributes:
        name: of it, one of `pyro_sib.features.network_card.SHIPPED`.
        sha256: of its file.
    """

    name: str
    sha256: str


@dataclass(frozen=True)
class PictureSettings:
    """How pictures become features.

    Attributes:
        backbone: name of the feature network's architecture.
        image_size: pixels a side.
        flips: whether each picture's features are averaged with those of its mirror image.
        pixels: mean and standard deviation by which pixels are normalized.
        fit: how pictures of another shape become squares, squashed whole or cropped at the centre.
        outside: the network that others trained, of which the file holds no weights.
        shipped: the network of the project's, of which it holds none either. With neither it holds the weights.
    """

    backbone: str
    image_size: int
    flips: bool = False
    pixels: PixelStatistics = MINI_IMAGENET_PIXELS
    fit: Fit = field(default="squash", metadata=LATER)
    outside: OutsideNetwork | None = field(default=None, metadata=LATER)
    shipped: ShippedNetwork | None = field(default=None, metadata=LATER)

    @property
    def holds_network(self) -> bool:
        """Whether the learner's file holds the network's weights."""
        return self.outside is None and self.shipped is None


@dataclass(frozen=True)
class TaskSettings:
    """The tasks that a learner was trained on.

    Attributes:
        ways: novel classes in a task (N).
        shots: labeled examples of each (S).
        queries: unlabeled examples of each.
        balance: how the queries are spread over the classes: balanced, dirichlet:ALPHA or mixed:ALPHA.
        any: the distribution of a learner trained on tasks of many sizes, for which the others do not count.
        images: "seen" for images that the feature network was trained on, or "held-out".
    """

    ways: int
    shots: int
    queries: int
    balance: str = "balanced"
    any: TaskDistribution | None = field(default=None, metadata=LATER)
    images: str = field(default="seen", metadata=LATER)


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
        known_classes: names of further classes that its training tasks were made of, whose weights the file does
            not hold; nothing is to be measured on either.
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
    known_classes: tuple[str, ...] = field(default=(), metadata=LATER)

    def __post_init__(self) -> None:
        if self.features < 1:
            raise ValueError(f"features should be 1 or more but is {self.features}")
        check_strength(self.propagation)

    @property
    def any_features(self) -> bool:
        """Whether it serves features of any network and any D, as each task has coordinates of its own."""
        return self.learner.coordinates > 0

    @property
    def trained_on(self) -> tuple[str, ...]:
        """Names of all classes that are not new to it."""
        return (*self.base_classes, *self.known_classes)


def read_learner_card(name: str | Path) -> LearnerCard:
    """What a learner's file says of it, without reading the weights.

    Raises:
        InputError: an unknown name, a file that is missing, damaged or of another format.
    """
    path = learner_path(name)
    return card_of(path, read_meta(path))


def learner_path(name: str | Path) -> Path:
    """The file of a learner.

    Raises:
        InputError: there is none.
    """
    return find_file(str(name), SHIPPED, _FOLDER, "learner")


def card_of(path: Path, meta: Mapping[str, Any]) -> LearnerCard:
    """What the metadata of a learner's file say.

    Raises:
        InputError: they are of no learner, or of another version's.
    """
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
