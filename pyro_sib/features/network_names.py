"""Names of feature networks that others trained, told from words that are none without loading anything."""

from pyro_sib.errors import InputError, argument
from pyro_sib.features.outside import OUTSIDE

PREFIX = "timm:"
SUGGESTED = "vit_small_patch14_reg4_dinov2.lvd142m"


def check_network_name(name: str) -> None:
    """Refuse a name of no feature network, before anything is loaded.

    Raises:
        InputError: it is none.
    """
    if name not in OUTSIDE and not (name.startswith(PREFIX) and name != PREFIX):
        raise InputError(
            f"{argument('features')} {name}: there is no such network; choose one of {', '.join(OUTSIDE)}, "
            f"{PREFIX}NAME as {PREFIX}{SUGGESTED}, or a file"
        )
