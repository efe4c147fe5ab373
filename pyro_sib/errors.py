"""The one exception that means: the user can mend this."""

import errno
import re
from collections.abc import Mapping
from os import PathLike

_OPEN, _CLOSE = "\ufdd0", "\ufdd1"
"""Unicode keeps these for a program's own use: no text that anybody interchanges holds them."""
_MARKED = re.compile(f"{_OPEN}(\\w+){_CLOSE}")


def argument(name: str) -> str:
    """An argument's name for the message of an `InputError`, which shows it as it is.

    It is marked, so that a command line can put its own name for the argument there (`InputError.rename`) without
    touching any other text.
    """
    return f"{_OPEN}{name}{_CLOSE}"


class InputError(ValueError):
    """Bad input. The message is one line: the thing, what was expected, what was found, the mend.

    The thing and the mend may be an argument of the function that raises it, or a field of its settings, each named
    by `argument`.
    """

    def __init__(self, message: str):
        # A file's or a class's name may hold anything, newlines too.
        self._message = "\\n".join(message.splitlines())
        super().__init__(self.said_with({}))

    def rename(self, names: Mapping[str, str]) -> None:
        """Name arguments otherwise from here on, as the caller who passed them on knows them: old to new names."""
        self._message = _MARKED.sub(lambda found: argument(names.get(found[1], found[1])), self._message)
        self.args = (self.said_with({}),)

    def said_with(self, names: Mapping[str, str]) -> str:
        """The message with other words for arguments, as `{"step_size": "--step-size"}`."""
        return _MARKED.sub(lambda found: names.get(found[1], found[1]), self._message)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_RIGHTS = (errno.EACCES, errno.EPERM, errno.EROFS)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOTEMPTY)


class StorageError(InputError, OSError):
    """What a disk said, in one line that says what to do."""

    def __str__(self) -> str:
        """The line; an OSError with a number would have its own."""
        return str(self.args[0])


def storage_error(
    error: OSError, path: "str | PathLike[str] | None" = None, doing: str = "written"
) -> StorageError:
    """What a disk said, in one line for the user: the path, the reason, the mend; the one place that translates.

    Args:
        error: as it was raised.
        path: what it is about, where the error itself does not say so or names a temporary file.
        doing: what could not be done with it.
    """
    if isinstance(error, StorageError):
        return error
    what = error.filename if path is None else path
    what = "a file" if what is None else what
    reason = " ".join(str(error.strerror or error).split())
    found = StorageError(f"{what} cannot be {doing} ({reason}); {_mend(error.errno)}")
    found.errno, found.strerror = error.errno, reason
    return found


def _mend(number: int | None) -> str:
    if number in _FULL:
        return "free some space or choose another folder"
    if number in _RIGHTS:
        return "choose a folder that you may write to, or mend its rights"
    if number in _IN_THE_WAY:
        return "a file is where a folder should be, or the other way round; move it or choose another name"
    if number == errno.ENAMETOOLONG:
        return "choose a shorter name"
    if number == errno.ENOENT:
        return "look whether the folder is there"
    return "look at the disk and the path's rights, or choose another folder"
