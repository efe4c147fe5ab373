"""The C library's allocator, told to keep what is freed."""

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's numbers of the two settings, from its malloc.h."""
_MOST = 2**31 - 1
"""Largest value that mallopt takes, an int."""
_OFTEN_MOST = 2**25
"""Largest threshold for mmap in some versions of glibc, 32 MiB."""


def keep_freed_memory() -> None:
    """Have glibc keep freed memory for the next tensor; nothing happens on systems without glibc.

    By default every large tensor is mapped anew and its pages are zeroed at first touch, which takes longer than
    most of what is computed with them.
    """
    with suppress(OSError, AttributeError, TypeError, ValueError):
        library = ctypes.CDLL(None)
        # musl and macOS have no such function.
        set_option = library.gnu_get_libc_version and library.mallopt
        set_option(_MMAP_THRESHOLD, _MOST) or set_option(_MMAP_THRESHOLD, _OFTEN_MOST)
        set_option(_TRIM_THRESHOLD, _MOST)
