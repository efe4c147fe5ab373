"""A JPEG's size from its first bytes, where nothing else in them matters: several times as fast as Pillow."""

import struct

_START, _FRAMES, _NO_FRAMES = 0xFFD8, range(0xFFC0, 0xFFD0), (0xFFC4, 0xFFC8, 0xFFCC)
_PLAIN = (0xFFE0, 0xFFEE, 0xFFFE, 0xFFDB, 0xFFC4, 0xFFDD)
"""JFIF, Adobe's colour transform, comments, tables: what changes neither a picture's way up nor its frames."""


def plain_jpeg_pixels(data: bytes) -> int | None:
    """Width times height, or None for anything but a JPEG without EXIF, further frames or other metadata."""
    try:
        if struct.unpack_from(">H", data)[0] != _START:
            return None
        place = 2
        while True:
            marker, length = struct.unpack_from(">HH", data, place)
            if marker in _FRAMES and marker not in _NO_FRAMES:
                height, width = struct.unpack_from(">HH", data, place + 5)
                return height * width
            if marker not in _PLAIN:
                return None
            place += 2 + length
    except struct.error:
        return None
