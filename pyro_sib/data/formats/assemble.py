"""From splits in memory to a checked data set with its fingerprint."""

from collections.abc import Mapping

from pyro_sib.data.checks import TOLERATED_COPIES, drop_copies
from pyro_sib.data.copies import drop_repeats
from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.fingerprint import fingerprint, row_digests
from pyro_sib.data.names import MINI_IMAGENET


def assemble(name: str, splits: Mapping[str, Split], base_holdout: str, own_cut: bool = False) -> DataSet:
    """Drop the copies inside splits and between them, say so, and take the fingerprint.

    mini-ImageNet's own few copies inside a split stay, and the published val and test whole.

    Args:
        name: of the data set.
        splits: by name.
        base_holdout: in words; copies between splits are added to it.
        own_cut: whether the base splits were cut by rule from one list.

    Raises:
        InputError: the splits leak into one another, or a class is all copies.
    """
    digests = {part: row_digests(split.x) for part, split in splits.items()}
    known = name == MINI_IMAGENET
    kept, digests, notes = drop_repeats(splits, digests, TOLERATED_COPIES if known else 0.0, own_cut and not known)
    kept, digests, copies = drop_copies(kept, digests)
    words = f"{base_holdout}; {copies}" if copies else base_holdout
    return DataSet(name, kept, words, fingerprint(kept, digests), notes)
