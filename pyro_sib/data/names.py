"""Names of splits and of data sets that are known by name."""

BASE_TRAIN, BASE_VAL, BASE_TEST = "base_train", "base_val", "base_test"


VAL, TEST = "val", "test"


HELD_OUT_AS_VAL = "base classes held out as val"
"""In `base_holdout`, after their number."""
MINI_IMAGENET = "mini-imagenet"
