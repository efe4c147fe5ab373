"""The feature network f: which one, how stage 1 trains it, and what is done with its features."""

from dataclasses import dataclass, field, fields
from typing import Annotated, ClassVar, Literal

import tyro

from pyro_sib.backbones import BACKBONES
from pyro_sib.data.names import Fit
from pyro_sib.experiments.options.data import DataOptions
from pyro_sib.experiments.options.names import listed
from pyro_sib.experiments.terminal.options import renamed
from pyro_sib.features.network_card import SHIPPED
from pyro_sib.features.outside import OUTSIDE
from pyro_sib.features.recipe import Precision, PretrainSettings


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Of every command that needs features of images."""

    group: ClassVar[str] = "feature network"
    backbone: Annotated[str, tyro.conf.arg(help=f"Feature network: {listed(BACKBONES)}.")] = "c64f"
    network: Annotated[
        str | None,
        tyro.conf.arg(
            help="A trained feature network in place of stage 1 (and of --backbone and --image-size), a file or "
            f"one that comes with the project: {listed(SHIPPED)}; those that end in -heldN do not know N of the "
            f"base classes. For pictures of any kind: {listed(OUTSIDE)}, which others trained on ImageNet's "
            "classes; --image-size may be smaller than their 224 and 260."
        ),
    ] = None
    pretrain_epochs: int | None = None
    """Epochs of stage 1; 60 for images from --data-root, 10 for the synthetic world, unless given."""


@dataclass(frozen=True, kw_only=True)
class Stage1Options(BackboneOptions):
    """Of commands that train f as the paper's authors did."""

    pretrain_batch_size: int = 64
    """Images a step in stage 1."""
    pretrain_learning_rate: float = 0.1
    """First learning rate of stage 1."""
    pretrain_schedule: Literal["cosine", "step"] = "cosine"
    """Learning rate of stage 1: to zero along a cosine, or in Gidaris & Komodakis's steps."""


@dataclass(frozen=True, kw_only=True)
class NetworkOptions(Stage1Options):
    """Of a run."""

    pretrain_weight_decay: float = 5e-4
    """Weight decay of stage 1."""
    pretrain_label_smoothing: float = 0.0
    """Probability that stage 1's targets spread evenly over all base classes."""
    pretrain_mixup: float = 0.0
    """Mix stage 1's images in pairs, by shares from Beta(this, this); 0 is off."""
    pretrain_colour: float = 0.0
    """Scale brightness, contrast and saturation of stage 1's images by up to 1 +- this."""
    pretrain_crop: float = 1.0
    """Least share of the area that a resized crop keeps in stage 1; 1 crops after padding by 8 of 84 pixels."""
    pretrain_rotation: float = 0.0
    """Weight of a second task in stage 1: by which multiple of 90 degrees an image was turned; 0 is off."""
    pretrain_averaging: float = 0.0
    """Take the moving average of stage 1's weights, of this decay a step; 0 takes the last step's."""
    pretrain_head_scale: float = 10.0
    """First scale of stage 1's cosine classifier."""
    pretrain_seed: int = 0
    """Of stage 1."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of stage 1's arithmetic; auto is bfloat16 on a GPU, and from 64 px on a processor that multiplies in it."""
    flip_features: bool = False
    """Average each image's features with those of its mirror image."""
    tune_features: bool = False
    """Train f on in stage 2 (Algorithm 1, line 12); needs images."""


@dataclass(frozen=True, kw_only=True)
class ResolvedNetwork(NetworkOptions, DataOptions):
    """With the size and fit of images and the epochs of stage 1 that are meant."""

    image_size: int = field()
    picture_fit: Fit = "squash"
    pretrain_epochs: int = field()

    def pretrain_settings(self, precision: Precision) -> PretrainSettings:
        """Stage 1 in arithmetic of that precision."""
        own = [f.name for f in fields(PretrainSettings) if hasattr(self, f"pretrain_{f.name}")]
        with renamed(**{name: f"pretrain_{name}" for name in own}):
            return PretrainSettings(
                backbone=self.backbone,
                image_size=self.image_size,
                precision=precision,
                **{name: getattr(self, f"pretrain_{name}") for name in own},
            )
