"""Tensors in safetensors files, written atomically, and digests of content."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pyro_sib.files import meta_of, opened_safetensors, write_atomically


def write_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any] | None = None) -> None:
    """Write tensors and JSON-able metadata as one safetensors file, atomically."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"meta": json.dumps(meta or {})}
    write_atomically(path, lambda temporary: _save(contiguous, temporary, header))


def _save(tensors: dict[str, Tensor], path: Path, header: dict[str, str]) -> None:
    """With the disk's errors as Python has them."""
    try:
        save_file(tensors, path, metadata=header)
    except SafetensorError as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from None


def read_tensors(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Memory-mapped tensors and metadata of a safetensors file.

    Raises:
        InputError: the file is missing or damaged.
    """
    with opened_safetensors(path, "pt", device) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, meta_of(file)  # noqa: SIM118


def digest(*parts: Any) -> str:
    """Hex digest of JSON-able values and tensors; equal exactly when the content is."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            array = part.detach().cpu().contiguous().numpy()
            hasher.update(f"{array.dtype}{array.shape}".encode())
            hasher.update(array.data)
        else:
            hasher.update(json.dumps(part, sort_keys=True).encode())
        hasher.update(b"\0")
    return hasher.hexdigest()


def digest_state(state: Mapping[str, Tensor]) -> str:
    """Digest of a state_dict."""
    return digest(*(part for name in sorted(state) for part in (name, state[name])))
