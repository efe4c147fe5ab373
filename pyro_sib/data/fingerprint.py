"""One digest for a data set's content, and one for each of its rows."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from pyro_sib.data.dataset import Split
from pyro_sib.data.formats.listing import SPLITS
from pyro_sib.tensor_files import digest

_BYTES = 16
_CHUNK = 512


def row_digests(x: Tensor) -> Tensor:
    """(n, ...) any type -> (n, 16) uint8: blake2b of each row's bytes, on torch.get_num_threads() threads."""
    if not x.numel():
        return torch.zeros(len(x), _BYTES, dtype=torch.uint8)
    rows = x.contiguous().numpy().reshape(len(x), -1)

    def hash_chunk(start: int) -> bytes:
        chunk = rows[start : start + _CHUNK]
        return b"".join(hashlib.blake2b(row, digest_size=_BYTES).digest() for row in chunk)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        joined = b"".join(pool.map(hash_chunk, range(0, len(rows), _CHUNK)))
    return torch.from_numpy(np.frombuffer(joined, dtype=np.uint8).reshape(-1, _BYTES).copy())


def fingerprint(splits: Mapping[str, Split], digests: Mapping[str, Tensor] | None = None) -> str:
    """32 hex characters: equal exactly when rows, labels and class names are, split by split.

    Args:
        splits: in any order.
        digests: `row_digests` of each split, where they are known already.
    """
    known = digests or {}
    parts: list[object] = []
    for name in sorted(splits, key=SPLITS.index):
        split = splits[name]
        rows = known[name] if name in known else row_digests(split.x)
        parts += [name, list(split.class_names), str(split.x.dtype), list(split.x.shape), rows, split.y]
    return digest(*parts)
