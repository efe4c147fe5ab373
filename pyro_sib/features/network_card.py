"""What the file of a trained feature network says of it, and the networks that come with the project."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pyro_sib.backbones import BACKBONES
from pyro_sib.errors import InputError
from pyro_sib.features.outside import OUTSIDE, check_installed
from pyro_sib.features.pixels import MINI_IMAGENET_PIXELS, PixelStatistics
from pyro_sib.files import read_meta
from pyro_sib.shipped import WEIGHTS, find_file

FORMAT = 1
"""Of the file; one of another number is refused."""


SHIPPED: dict[str, str] = {
    "mini-imagenet-c64f": "75579cc37b13afc821c5aed0146b0743f08a571a486c4d8017b7861da6b1b9be",
    "mini-imagenet-c64f-held16": "3739545669f2ae39e9f7f6085501f45807311403b6fc109fae1d566b6c978205",
    "mini-imagenet-c128f": "00bb19c3d7cc47a0945554d201eceff3de60b6ba5335b2d81d9f9177498b3f74",
    "mini-imagenet-c128f-held16": "17f5ceba68be2647a7e768e2287ffb3d35eb0e3ff656c8f8ce0f097b4be37ea8",
    "mini-imagenet-resnet12": "4dceb712d033f9771b0ee5c392185eec25157c76f42244713798458aa5b2b601",
}
"""Name -> SHA-256 of the file of that name in `pyro_sib/weights/`."""


_FOLDER = WEIGHTS


@dataclass(frozen=True)
class NetworkCard:
    """What a file says of the network in it.

    Attributes:
        name: under which results speak of it.
        backbone: name of the architecture.
        image_size: pixels a side of the images that it was trained on.
        classes: names of the base classes, in the order of the classifier's weights.
        data: what it was trained on: name, fingerprint, rows, held-out rows.
        recipe: of stage 1.
        log: one record per epoch.
        made: command, commit, hardware and hours.
        licence: of the weights, and what they must not be used for.
    """

    name: str
    backbone: str
    image_size: int
    classes: tuple[str, ...]
    data: dict[str, Any]
    recipe: dict[str, Any]
    log: tuple[dict[str, Any], ...]
    made: dict[str, Any]
    licence: str


def read_card(name: str) -> NetworkCard:
    """What a network's file says of it, without reading the weights.

    Args:
        name: one of `SHIPPED` or of `OUTSIDE`, or a path.

    Raises:
        InputError: an unknown name, a package that is not installed, a file that is missing, damaged or of another
            format.
    """
    if name in OUTSIDE:
        check_installed(name)
        return _outside_card(name)
    path = network_path(name)
    return card_of(path, read_meta(path))


def network_path(name: str) -> Path:
    """The file of a network.

    Raises:
        InputError: there is none.
    """
    return find_file(name, SHIPPED | dict.fromkeys(OUTSIDE, ""), _FOLDER, "feature network")


def card_of(path: Path, meta: dict[str, Any]) -> NetworkCard:
    """What the metadata of a network's file say.

    Raises:
        InputError: they are of no network, or of another version's.
    """
    held, known = meta.get("card"), {field.name for field in fields(NetworkCard)}
    if not isinstance(held, dict) or meta.get("format") != FORMAT or held.keys() != known:
        raise InputError(f"{path} is no feature network of this version (format {FORMAT}); write it again")
    if held["backbone"] not in BACKBONES:
        raise InputError(f"{path} holds a backbone {held['backbone']!r}; this version knows {', '.join(BACKBONES)}")
    return NetworkCard(**{**held, "classes": tuple(held["classes"]), "log": tuple(held["log"])})


def _outside_card(name: str) -> NetworkCard:
    source = OUTSIDE[name]
    data, made = {"name": source.trained_on}, asdict(source.network)
    return NetworkCard(name, source.backbone, source.image_size, (), data, {}, (), made, source.licence)


def pixels_of(name: str | None) -> PixelStatistics:
    """By which pixels are normalized for a network of that name, or for one that stage 1 trains."""
    return OUTSIDE[name].pixels if name in OUTSIDE else MINI_IMAGENET_PIXELS
