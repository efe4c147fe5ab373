"""Data sets: readers for every form that users have, the synthetic world, one in-memory form."""

from typing import TYPE_CHECKING

from pyro_sib.data.names import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL
from pyro_sib.on_demand import names_of

if TYPE_CHECKING:
    from pyro_sib.data.dataset import DataSet, Split
    from pyro_sib.data.features import read_features
    from pyro_sib.data.held_classes import hold_out_classes
    from pyro_sib.data.readers import read_images
else:
    __getattr__ = names_of(
        __name__,
        {
            "DataSet": "pyro_sib.data.dataset",
            "Split": "pyro_sib.data.dataset",
            "hold_out_classes": "pyro_sib.data.held_classes",
            "read_features": "pyro_sib.data.features",
            "read_images": "pyro_sib.data.readers",
        },
    )

__all__ = [
    "BASE_TEST",
    "BASE_TRAIN",
    "BASE_VAL",
    "TEST",
    "VAL",
    "DataSet",
    "Split",
    "hold_out_classes",
    "read_features",
    "read_images",
]
