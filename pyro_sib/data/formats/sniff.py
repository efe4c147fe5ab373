"""Files that are not what their name says: the commonest accidents of a download."""

from pathlib import Path

from pyro_sib.errors import InputError

HEAD = 512
"""Bytes from the start of a file that `refuse_impostor` wants to see."""


def refuse_impostor(path: Path, head: bytes, expected: str) -> None:
    """Refuse a web page or a Git LFS pointer that was saved under the name of a data file.

    Args:
        path: named in the message.
        head: the first `HEAD` bytes of the file, or all where it has fewer.
        expected: what the file should be, e.g. "a pickle".

    Raises:
        InputError: the content starts as a web page or as an LFS pointer does, or is empty.
    """
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise InputError(f"{path} should be {expected} but is empty; write or download it again")
    if start.startswith(b"<"):
        raise InputError(
            f"{path} should be {expected} but is a web page (an error or login page under that name); "
            f"download the file itself again"
        )
    if start.startswith(b"version https://git-lfs"):
        raise InputError(f"{path} should be {expected} but is a Git LFS pointer; run git lfs pull")


def read_head(path: Path, expected: str) -> bytes:
    """The first bytes of a data file, after `refuse_impostor`.

    Raises:
        InputError: the file is missing, unreadable, or not what its name says.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; expected {expected} there, check the path") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check the path and its permissions") from None
    refuse_impostor(path, head, expected)
    return head
