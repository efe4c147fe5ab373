"""The one exception that means: the user can mend this."""

import errno
from os import PathLike


class InputError(Exception):
    """Bad input. The message is one line: the thing, what was expected, what was found, the mend."""

    def __init__(self, message: str):
        # A file's or a class's name may hold anything, newlines too.
        super().__init__("\\n".join(message.splitlines()))


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
