"""Names of splits, of data sets that are known by name, and of ways in which pictures become squares."""

from typing import Literal

BASE_TRAIN, BASE_VAL, BASE_TEST = "base_train", "base_val", "base_test"


VAL, TEST = "val", "test"


HELD_OUT_AS_VAL = "base classes held out as val"
"""In `base_holdout`, after their number."""
MINI_IMAGENET = "mini-imagenet"

Fit = Literal["squash", "crop"]
"""How a picture becomes a square: squashed, whatever its aspect, or cropped at the centre to its shorter side."""
