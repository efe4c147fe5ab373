"""The weights of feature networks that others trained, found installed and held to their SHA-256."""

import hashlib
import io

import torch

from pyro_sib.backbones import make_backbone
from pyro_sib.backbones.efficientnet_lite import EfficientNetLite, of_published
from pyro_sib.errors import InputError
from pyro_sib.features.outside import OUTSIDE, check_installed


def load_outside(name: str) -> EfficientNetLite:
    """The named network with its weights, in evaluation mode and constant; batch norms are in the convolutions.

    Nothing in the package is run: its file is read as tensors alone.

    Args:
        name: one of `OUTSIDE`.

    Raises:
        InputError: its package is missing, or holds another file.
    """
    path, source = check_installed(name), OUTSIDE[name]
    content = path.read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != source.network.sha256:
        raise InputError(
            f"{path} is not the file of {source.network.package} {source.network.version} that {name} is made of "
            f"(SHA-256 {found[:12]}, not {source.network.sha256[:12]}); install that version again"
        )
    with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
        backbone = make_backbone(source.backbone, source.image_size)
    assert isinstance(backbone, EfficientNetLite)
    backbone.load_state_dict(of_published(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)))
    backbone.eval().requires_grad_(False)
    backbone.fold().requires_grad_(False)
    return backbone.to(memory_format=torch.channels_last)
