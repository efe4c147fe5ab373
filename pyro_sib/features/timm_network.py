"""Feature networks of timm, an optional package, each with its own size and statistics of pixels."""

from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pyro_sib.errors import InputError
from pyro_sib.features.network_names import PREFIX, SUGGESTED
from pyro_sib.features.pixels import PixelStatistics


class TimmNetwork(NamedTuple):
    """A network, and what it takes."""

    backbone: nn.Module
    """(n, 3, S, S) normalized pixels -> (n, D), in evaluation mode and constant."""
    image_size: int
    """S, of which the network sees the middle where it was trained so."""
    pixels: PixelStatistics
    features: int
    """D."""
    licence: str
    """As timm knows it; empty where it does not."""


class _Middle(nn.Module):
    """A network shown the middle of a larger picture, as its own preprocessing crops it."""

    def __init__(self, network: nn.Module, size: int):
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, S, S) -> (n, D)."""
        start = (x.shape[-1] - self.size) // 2
        found: Tensor = self.network(x[..., start : start + self.size, start : start + self.size])
        return found


def load_timm(name: str) -> TimmNetwork:
    """The network of that name without its classifier, its weights from timm's cache or the network.

    Args:
        name: as timm has it, or local-dir:FOLDER of a model that timm saved.

    Raises:
        InputError: timm is not installed, knows no such network, or cannot get its weights.
    """
    if find_spec("timm") is None:
        raise InputError(f"{PREFIX}{name} needs the package timm, which is not installed; install pyro-sib[timm]")
    import timm

    if not name.startswith(("local-dir:", "hf-hub:")) and not timm.is_model(name.partition(".")[0]):
        near = ", ".join(timm.list_models(f"*{name.partition('.')[0][:8]}*")[:3]) or SUGGESTED
        raise InputError(
            f"timm {timm.__version__} knows no network {name!r:.60}; choose one that it has, as {near}"
        )
    try:
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, and thrown away
            network: Any = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of a hub, a file, or a name: timm has no errors of its own
        said = " ".join(str(error).split())[:160]
        raise InputError(
            f"the weights of {PREFIX}{name} cannot be had ({type(error).__name__}: {said}); get them once with a "
            f"network, or name a folder as {PREFIX}local-dir:FOLDER"
        ) from None
    network.eval().requires_grad_(False)
    how: dict[str, Any] = timm.data.resolve_model_data_config(network)
    size = int(how["input_size"][-1])
    larger = size if how.get("crop_mode") == "border" else round(size / float(how["crop_pct"]))
    pixels = PixelStatistics(tuple(how["mean"]), tuple(how["std"]))
    backbone = network if larger == size else _Middle(network, size)
    licence = str((network.pretrained_cfg or {}).get("license") or "")
    return TimmNetwork(backbone.eval(), larger, pixels, int(network.num_features), licence)
