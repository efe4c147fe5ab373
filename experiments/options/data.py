"""Which data, and which of their classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from pyro_sib.data.names import MINI_IMAGENET, Fit
from pyro_sib.errors import InputError
from pyro_sib.experiments.options.machine import CacheOptions

DataName = Literal["synthetic", "folders", "mini-imagenet"]


def reader_of(data: str) -> str:
    """What reads the data of that name: mini-imagenet is any folder, and says what must be found there."""
    return "folders" if data == MINI_IMAGENET else data


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Of commands for images from a folder."""

    group: ClassVar[str] = "data"
    data_root: Path | None = None
    """Folder of the images: csv lists with images/, pickles, or class folders."""
    image_size: int | None = None
    """Pixels a side; 84 for images from --data-root and 32 for the synthetic world, unless given."""
    split: Literal["val", "test"] | None = None
    """Classes to evaluate on; test where the data has it, unless given."""


@dataclass(frozen=True, kw_only=True)
class OwnDataOptions(ImageOptions):
    """Of commands that take features as well."""

    features: Path | None = None
    """Your own features instead of images: .npz or .safetensors with train_x, train_y, val_x, val_y, ..."""


@dataclass(frozen=True, kw_only=True)
class ReaderOptions:
    """What reads the data."""

    group: ClassVar[str] = "data"
    data: DataName = "synthetic"
    """What reads the images: synthetic draws a world of its own, folders reads whatever is at --data-root; so does
    mini-imagenet, and stops unless it finds mini-ImageNet's classes."""
    data_seed: int = 0
    """Of the synthetic world."""


@dataclass(frozen=True, kw_only=True)
class SourceOptions(OwnDataOptions, ReaderOptions):
    """Of commands that are told where the data come from."""

    @property
    def source(self) -> str:
        """Where the data come from: synthetic, folders or mini-imagenet, or features."""
        return "features" if self.features else self.data

    @property
    def from_folder(self) -> bool:
        """Whether images are read from a folder."""
        return reader_of(self.source) == "folders"


@dataclass(frozen=True, kw_only=True)
class DataOptions(SourceOptions):
    """Of a run."""

    hold_out_classes: int = 0
    """Take so many of the base classes out of training and evaluate on them, in place of the data's own val and
    test: for choosing settings without a look at those."""

    picture_fit: Fit | None = None
    """How pictures of another shape become squares: squash takes them whole, crop their centre; crop for networks
    for pictures of any kind and squash for others, unless given."""

    def check_data(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InputError: what is wrong, what would be right.
        """
        if self.hold_out_classes and self.split == "test":
            raise InputError("--hold-out-classes evaluates on the classes held out; leave --split test out")
        if self.features and self.data_root:
            raise InputError("--features and --data-root both given; choose one")
        if self.from_folder and self.data_root is None:
            raise InputError(f"--data {self.data} needs --data-root, the folder with its images or pickles")
        if self.data == "synthetic" and self.data_root:
            raise InputError(f"--data-root {self.data_root} given with --data synthetic; add --data folders")


@dataclass(frozen=True, kw_only=True)
class MovedOptions(CacheOptions):
    """Of commands that bring a finished run back."""

    group: ClassVar[str] = "data"
    data_root: Path | None = None
    """Where the run's images are now, if they have moved."""
    features: Path | None = None
    """Where the run's features are now, if they have moved."""
