"""The one feature network that all methods' features come from."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from pyro_sib.data.names import Fit
from pyro_sib.errors import InputError, argument
from pyro_sib.features.network_card import pixels_of
from pyro_sib.features.network_file import load_network
from pyro_sib.features.outside import OUTSIDE, OutsideNetwork, checked_size
from pyro_sib.features.pixels import PixelStatistics


@dataclass(frozen=True)
class Network:
    """A network, and how pictures are brought before it.

    Attributes:
        name: under which it was asked for.
        backbone: (n, 3, S, S) -> (n, D), in evaluation mode.
        architecture: name of the backbone.
        features: D.
        image_size: S.
        fit: how pictures of another shape become squares.
        pixels: by which pixels are normalized.
        outside: which network of others it is, or None.
        classes: that it was trained on, as far as they are known by name.
    """

    name: str
    backbone: nn.Module
    architecture: str
    features: int
    image_size: int
    fit: Fit
    pixels: PixelStatistics
    outside: OutsideNetwork | None
    classes: tuple[str, ...]


def open_network(name: str, image_size: int | None, device: Any) -> Network:
    """Load the network of that name, or from that file.

    Raises:
        InputError: there is none, or it does not take pictures of this size.
    """
    trained, card = load_network(name)
    outside = OUTSIDE[name].network if name in OUTSIDE else None
    size = image_size or card.image_size
    if outside is not None:
        size = checked_size(name, size)
    elif size != card.image_size:
        raise InputError(
            f"{argument('image_size')} {size}: the network {card.name} takes {card.image_size} pixels a side; "
            f"leave {argument('image_size')} out"
        )
    trained.backbone.to(device).eval()
    fit: Fit = "crop" if outside else "squash"
    width = trained.classifier.weight.shape[1]
    return Network(name, trained.backbone, card.backbone, width, size, fit, pixels_of(name), outside, card.classes)
