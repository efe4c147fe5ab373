"""Image files that Pillow does not write, byte by byte."""

import struct
import zlib

import numpy as np


def tiff(
    rows: np.ndarray, bits: int, photometric: int = 1, sample_format: int = 1, packed: bytes | None = None
) -> bytes:
    """A little-endian grey TIFF of one strip; `packed` in place of the rows' own bytes."""
    raw = rows.tobytes() if packed is None else packed
    height, width = rows.shape
    entries = (
        (256, width),
        (257, height),
        (258, bits),
        (259, 1),
        (262, photometric),
        (273, 8),
        (277, 1),
        (278, height),
        (279, len(raw)),
        (339, sample_format),
    )
    folder = struct.pack("<H", len(entries))
    folder += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8 + len(raw) + len(raw) % 2) + raw + bytes(len(raw) % 2) + folder + bytes(4)


def pack_12_bits(rows: np.ndarray) -> bytes:
    """Two values in three bytes, the first one's upper bits first; an even number of columns."""
    first, second = rows.reshape(-1, 2).T.astype(np.uint32)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()


def png16(rows: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel: (H, W, C) uint16 of 1 to 4 channels."""
    height, width, channels = rows.shape
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in rows)
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )
