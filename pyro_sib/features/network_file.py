"""A trained feature network as one file, and those that come with the project."""

from dataclasses import asdict
from pathlib import Path

import torch

from pyro_sib.backbones import make_backbone
from pyro_sib.cosine import CosineClassifier
from pyro_sib.errors import InputError
from pyro_sib.features.network_card import FORMAT, SHIPPED, NetworkCard, card_of, network_path, read_card
from pyro_sib.features.outside import OUTSIDE
from pyro_sib.features.outside_file import load_outside
from pyro_sib.features.pretrain import Pretrained
from pyro_sib.features.recipe import EpochRecord
from pyro_sib.shipped import check_digest
from pyro_sib.tensor_files import read_tensors, write_tensors


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
    path = network_path(name)
    tensors, meta = read_tensors(path)
    check_digest(path, name, SHIPPED)
    card = card_of(path, meta)
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


def _outside(name: str) -> tuple[Pretrained, NetworkCard]:
    card, backbone = read_card(name), load_outside(name)
    return Pretrained(backbone, CosineClassifier(backbone.features, 0), ()), card


def _shape(path: Path, weight: torch.Tensor | None, classes: int) -> tuple[int, int]:
    if weight is None or weight.ndim != 2 or len(weight) != classes:
        found = None if weight is None else tuple(weight.shape)
        raise InputError(f"{path}: {classes} classes are named, but the classifier's weights are {found}")
    return weight.shape[1], classes
