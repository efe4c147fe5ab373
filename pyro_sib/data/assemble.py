"""From splits in memory to a checked data set with its fingerprint."""

from collections.abc import Mapping

from pyro_sib.data.checks import drop_copies
from pyro_sib.data.dataset import DataSet, Split
from pyro_sib.data.fingerprint import fingerprint, row_digests


def assemble(name: str, splits: Mapping[str, Split], base_holdout: str) -> DataSet:
    """Drop the copies between splits, say so in `base_holdout`, and take the fingerprint.

    Raises:
        InputError: the splits leak into one another.
    """
    digests = {part: row_digests(split.x) for part, split in splits.items()}
    kept, digests, copies = drop_copies(splits, digests)
    words = f"{base_holdout}; {copies}" if copies else base_holdout
    return DataSet(name, kept, words, fingerprint(kept, digests))
