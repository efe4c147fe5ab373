"""Data sets: readers for every form that users have, the synthetic world, one in-memory form."""

from pyro_sib.data.dataset import BASE_TEST, BASE_TRAIN, BASE_VAL, TEST, VAL, DataSet, Split
from pyro_sib.data.features import read_features
from pyro_sib.data.held_classes import hold_out_classes
from pyro_sib.data.readers import read_images

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
