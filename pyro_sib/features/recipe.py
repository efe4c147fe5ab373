"""The recipe of stage 1, and the log that it leaves."""

from dataclasses import dataclass
from typing import Literal

from pyro_sib.errors import InputError, argument

Schedule = Literal["cosine", "step"]


Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class PretrainSettings:
    """What determines the weights of f, given the images.

    Attributes:
        backbone: name of the network.
        image_size: pixels a side.
        epochs: passes over the base images.
        batch_size: images a step.
        learning_rate: the first one.
        schedule: of the learning rate, see `learning_rate`.
        weight_decay: of weights, not of biases and batch norm.
        seed: of the first weights, the order and the augmentation.
        label_smoothing: probability that the target spreads evenly over all base classes.
        mixup: images and labels are mixed in pairs by shares from Beta(mixup, mixup) (Zhang et al. 2018); 0 is off.
        colour: brightness, contrast and saturation are each scaled by up to 1 +- colour.
        crop: least share of the area that a resized crop keeps; 1 crops after zero padding instead.
        rotation: weight of a second task, by which multiple of 90 degrees an image was turned (Gidaris et al.
            2019); 0 is off.
        averaging: f is the moving average of the weights, of this decay a step; 0 is the last step's.
        head_scale: first scale of the cosine classifier.
        precision: of the backbone's arithmetic in training; weights, batch-norm statistics and losses are float32.
    """

    backbone: str = "c64f"
    image_size: int = 84
    epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 0.1
    schedule: Schedule = "cosine"
    weight_decay: float = 5e-4
    seed: int = 0
    label_smoothing: float = 0.0
    mixup: float = 0.0
    colour: float = 0.0
    crop: float = 1.0
    rotation: float = 0.0
    averaging: float = 0.0
    head_scale: float = 10.0
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{argument(name)} {getattr(self, name)}: {least} or more is needed")
        if not 0 < self.learning_rate < float("inf"):
            raise InputError(
                f"{argument('learning_rate')} {self.learning_rate}: a finite positive number is needed"
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(
                f"{argument('weight_decay')} {self.weight_decay}: a finite number of 0 or more is needed"
            )


@dataclass(frozen=True)
class EpochRecord:
    """One line of the pretraining log. Accuracies in percent."""

    epoch: int
    loss: float
    train_accuracy: float
    base_accuracy: float
