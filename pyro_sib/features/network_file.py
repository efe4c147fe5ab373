"""A trained feature network as one file, and those that come with the project."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from pyro_sib.backbones import BACKBONES, make_backbone
from pyro_sib.cosine import CosineClassifier
from pyro_sib.errors import InputError
from pyro_sib.features.augment import MINI_IMAGENET_PIXELS, PixelStatistics
from pyro_sib.features.outside import OUTSIDE, check_installed, load_outside
from pyro_sib.features.pretrain import EpochRecord, Pretrained
from pyro_sib.files import read_meta, read_tensors, write_tensors
from pyro_sib.shipped import WEIGHTS, check_digest, find_file

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


def save_network(path: Path, network: Pretrained, card: NetworkCard, dtype: torch.dtype = torch.float32) -> None:
    """Write network and card as one safetensors file; floats are stored as `dtype`."""
    parts = {"backbone": network.backbone, "classifier": network.classifier}
    tensors = {f"{part}.{k}": v for part, module in parts.items() for k, v in module.state_dict().items()}
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in tensors.items()}
    write_tensors(path, stored, {"format": FORMAT, "card": asdict(card)})


def load_network(name: str) -> tuple[Pretrained, NetworkCard]:
    """A network that comes with the project or that others trained, by name, or one in a file of `save_network`'s.

    Nothing in the file can run code. Weights are float32 in memory, the modules in evaluation mode and constant.

    Args:
        name: one of `SHIPPED` or of `OUTSIDE`, whose classifiers know no classes, or a path.

    Raises:
        InputError: an unknown name, a file that is missing, damaged, of another format, or whose tensors do not fit
            its card.
    """
    if name in OUTSIDE:
        return _outside(name)
    path = _path(name)
    tensors, meta = read_tensors(path)
    check_digest(path, name, SHIPPED)
    card = _card(path, meta)
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
        backbone = make_backbone(card.backbone, card.image_size)
    classifier = CosineClassifier(*_shape(path, tensors.get("classifier.weight"), len(card.classes)))
    network = torch.nn.ModuleDict({"backbone": backbone, "classifier": classifier})
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: the tensors are not those of {card.backbone} ({first})") from None
    if not all(bool(t.isfinite().all()) for t in tensors.values()):
        raise InputError(f"{path} holds weights that are not finite; train the network again")
    network.eval().requires_grad_(False)
    return Pretrained(backbone, classifier, tuple(EpochRecord(**record) for record in card.log)), card


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
    path = _path(name)
    return _card(path, read_meta(path))


def _path(name: str) -> Path:
    return find_file(name, SHIPPED | dict.fromkeys(OUTSIDE, ""), _FOLDER, "feature network")


def _outside(name: str) -> tuple[Pretrained, NetworkCard]:
    backbone = load_outside(name)
    return Pretrained(backbone, CosineClassifier(backbone.features, 0), ()), _outside_card(name)


def _outside_card(name: str) -> NetworkCard:
    source = OUTSIDE[name]
    data, made = {"name": source.trained_on}, asdict(source.network)
    return NetworkCard(name, source.backbone, source.image_size, (), data, {}, (), made, source.licence)


def pixels_of(name: str | None) -> PixelStatistics:
    """By which pixels are normalized for a network of that name, or for one that stage 1 trains."""
    return OUTSIDE[name].pixels if name in OUTSIDE else MINI_IMAGENET_PIXELS


def _card(path: Path, meta: dict[str, Any]) -> NetworkCard:
    held, known = meta.get("card"), {field.name for field in fields(NetworkCard)}
    if not isinstance(held, dict) or meta.get("format") != FORMAT or held.keys() != known:
        raise InputError(f"{path} is no feature network of this version (format {FORMAT}); write it again")
    if held["backbone"] not in BACKBONES:
        raise InputError(f"{path} holds a backbone {held['backbone']!r}; this version knows {', '.join(BACKBONES)}")
    return NetworkCard(**{**held, "classes": tuple(held["classes"]), "log": tuple(held["log"])})


def _shape(path: Path, weight: torch.Tensor | None, classes: int) -> tuple[int, int]:
    if weight is None or weight.ndim != 2 or len(weight) != classes:
        found = None if weight is None else tuple(weight.shape)
        raise InputError(f"{path}: {classes} classes are named, but the classifier's weights are {found}")
    return weight.shape[1], classes
