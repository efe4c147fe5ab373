"""A learner of tasks of any size on another feature network than its own."""

from dataclasses import replace

import torch
from torch import nn

from pyro_sib.errors import InputError
from pyro_sib.features.network_names import PREFIX, check_network_name
from pyro_sib.features.outside import OUTSIDE
from pyro_sib.features.outside_file import load_outside
from pyro_sib.features.timm_network import load_timm
from pyro_sib.inference.learner_file import TrainedLearner
from pyro_sib.inference.settings.card import PictureSettings


def with_features(trained: TrainedLearner, name: str, device: torch.device | str = "cpu") -> TrainedLearner:
    """The learner with another network; it knows nothing of the features but a task's own coordinates.

    Args:
        trained: a learner of tasks of any size.
        name: one of `OUTSIDE`, or timm:NAME.
        device: where the network computes.

    Raises:
        InputError: an unknown name, a package or weights that are not there, or a learner of one network.
    """
    check_network_name(name)
    if not trained.card.any_features:
        raise InputError(
            f"the learner {trained.card.name} knows the features that it was trained on alone; take one of tasks "
            f"of any size for features {name}, as lite0"
        )
    if name in OUTSIDE:
        source = OUTSIDE[name]
        network: nn.Module = load_outside(name)
        how = PictureSettings(source.backbone, source.image_size, False, source.pixels, "crop", source.network)
        width = int(network(torch.zeros(1, 3, 64, 64)).shape[1])
        licence = source.licence
    else:
        found = load_timm(name.removeprefix(PREFIX))
        network, width, licence = found.backbone, found.features, found.licence
        how = PictureSettings(name, found.image_size, False, found.pixels, "crop")
    said = f"{trained.card.name}, with features of {name}" + f" ({licence})" * bool(licence)
    card = replace(trained.card, name=said, pictures=how, features=width, measured=())
    return TrainedLearner(trained.program, network.to(torch.device(device)), None, card)
