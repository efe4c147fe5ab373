"""Feature networks f: image -> vector, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyro_sib.errors import InputError, argument
from pyro_sib.on_demand import Registry

if TYPE_CHECKING:
    from torch import nn

BACKBONES: Registry["Callable[[], nn.Module]"] = Registry(
    {
        "c64f": "conv4:c64f",
        "c128f": "conv4:c128f",
        "resnet12": "resnet12:ResNet12",
        "wrn-28-10": "wide_resnet:WideResNet",
        "efficientnet-lite0": "efficientnet_lite:EfficientNetLite",
        "efficientnet-lite2": "efficientnet_lite:efficientnet_lite2",
    },
    below="pyro_sib.backbones",
)
"""Constructor of each backbone; every one maps (n, 3, S, S) floats to (n, D) features."""

MIN_IMAGE_SIZE = 16
"""Four halvings must leave at least one pixel."""


def make_backbone(name: str, image_size: int) -> "nn.Module":
    """Build the named backbone with fresh weights (drawn from torch's current generator).

    Raises:
        InputError: unknown name, or images too small for four halvings.
    """
    BACKBONES.require("backbone", name)
    if image_size < MIN_IMAGE_SIZE:
        raise InputError(
            f"image size {image_size} is too small for {name}: four halvings need {MIN_IMAGE_SIZE} or more; "
            f"pass a larger {argument('image_size')}"
        )
    return BACKBONES[name]()
