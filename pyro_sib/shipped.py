"""Files of weights that come with the project, by name, each held to its SHA-256."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from pyro_sib.errors import InputError

WEIGHTS = Path(__file__).parent / "weights"


def find_file(name: str, digests: Mapping[str, str], folder: Path, what: str) -> Path:
    """The file of that name in the folder, or the file that the name is a path of.

    Args:
        name: one of `digests`, or a path.
        digests: name -> SHA-256 of each file that comes with the project.
        folder: where these lie.
        what: a word for such a file, for the error.

    Raises:
        InputError: there is none.
    """
    path = folder / f"{name}.safetensors" if name in digests else Path(name)
    if not path.is_file():
        raise InputError(f"no {what} {name}: give a file, or one of {', '.join(digests)}")
    return path


def check_digest(path: Path, name: str, digests: Mapping[str, str]) -> None:
    """Refuse a file under a name of ours that is another one.

    Raises:
        InputError: it is.
    """
    if name in digests and hashlib.sha256(path.read_bytes()).hexdigest() != digests[name]:
        raise InputError(f"{path} is not the file that came with this version; install the package again")
