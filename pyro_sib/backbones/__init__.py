"""Feature networks f: image -> vector, by name."""

from collections.abc import Callable

from torch import nn

from pyro_sib.backbones.conv4 import Conv4
from pyro_sib.backbones.efficientnet_lite import EfficientNetLite
from pyro_sib.backbones.resnet12 import ResNet12
from pyro_sib.backbones.wide_resnet import WideResNet
from pyro_sib.errors import InputError, argument

BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "c64f": lambda: Conv4((64, 64, 64, 64)),
    "c128f": lambda: Conv4((64, 64, 128, 128)),
    "resnet12": ResNet12,
    "wrn-28-10": WideResNet,
    "efficientnet-lite0": EfficientNetLite,
    "efficientnet-lite2": lambda: EfficientNetLite(1.1, 1.2),
}
"""Constructor of each backbone; every one maps (n, 3, S, S) floats to (n, D) features."""

MIN_IMAGE_SIZE = 16
"""Four halvings must leave at least one pixel."""


def make_backbone(name: str, image_size: int) -> nn.Module:
    """Build the named backbone with fresh weights (drawn from torch's current generator).

    Raises:
        InputError: unknown name, or images too small for four halvings.
    """
    if name not in BACKBONES:
        raise InputError(f"unknown backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    if image_size < MIN_IMAGE_SIZE:
        raise InputError(
            f"image size {image_size} is too small for {name}: four halvings need {MIN_IMAGE_SIZE} or more; "
            f"pass a larger {argument('image_size')}"
        )
    return BACKBONES[name]()
