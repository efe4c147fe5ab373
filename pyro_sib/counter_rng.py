"""Random numbers as a pure function of (key, index, position): no state, no order, any device.

SplitMix64 (Steele, Lea & Flood 2014) run as a counter-based generator in wrapping int64 arithmetic.
"""

import hashlib

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX2 = 0x94D049BB133111EB - 2**64


def make_key(*parts: object) -> int:
    """A signed 64-bit key from anything with a stable repr: fingerprint, seed, purpose."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest(), "big", signed=True)


def _shift_right(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift_right(z, 30)) * _MIX1
    z = (z ^ _shift_right(z, 27)) * _MIX2
    return z ^ _shift_right(z, 31)


def uniform(key: int, index: Tensor, stream: int | Tensor, count: int) -> Tensor:
    """(T,) int64 indices -> (T, count) float64 in [0, 1), different for each (key, index, stream).

    Of many streams at once, (S, 1) int64, it gives (S, T, count), the same numbers as of one after another.
    """
    start = _mix(_mix(index * _GOLDEN + key) + torch.as_tensor(stream, device=index.device) * _GOLDEN)
    positions = torch.arange(1, count + 1, device=index.device) * _GOLDEN
    return _shift_right(_mix(start[..., None] + positions), 11).double() * 2.0**-53


def normal(key: int, index: Tensor, stream: int | Tensor, count: int) -> Tensor:
    """(T,) int64 indices -> (T, count) float32 standard normals (Box-Muller); of many streams as `uniform`."""
    half = (count + 1) // 2
    u = uniform(key, index, stream, 2 * half)
    radius = (-2 * torch.log1p(-u[..., :half])).sqrt()
    angle = 2 * torch.pi * u[..., half:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()], dim=-1)[..., :count].float()


def times_before(values: Tensor) -> Tensor:
    """(T, k) -> (T, k) int64: how often an element's value stands earlier in its row."""
    ordered, order = values.sort(dim=-1, stable=True)
    places = torch.arange(values.shape[1], device=values.device).expand_as(values)
    repeated = torch.zeros_like(values, dtype=torch.bool)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    first = places.masked_fill(repeated, 0).cummax(-1).values
    return torch.empty_like(places).scatter_(1, order, places - first)


def distinct_integers(key: int, index: Tensor, stream: int, low: Tensor, size: Tensor) -> Tensor:
    """Draw low + floor(u * size) elementwise, no value twice in a row.

    An element equal to an earlier one of its row is drawn again until none is; by symmetry every arrangement of
    distinct values is equally likely within each group of elements that share a range.

    Args:
        key: from `make_key`.
        index: (T,) int64.
        stream: keeps this draw apart from others of the same index; streams stream + 2^20 * round are used.
        low: (T, k) or (1, k) first admitted value.
        size: (T, k) or (1, k) number of admitted values; the caller sees to it that enough exist.

    Returns:
        (T, k) int64.
    """
    low, size = (t.expand(len(index), -1) for t in (low, size))
    count = low.shape[1]
    values = low + (uniform(key, index, stream, count) * size).long()
    rows = torch.arange(len(index), device=index.device)
    todo, attempt = rows, 0
    while True:
        clash = times_before(values[todo]) > 0
        mask = clash.any(-1)
        if not bool(mask.any()):
            return values
        todo, clash = todo[mask], clash[mask]
        attempt += 1
        fresh = low[todo] + (uniform(key, index[todo], stream + (attempt << 20), count) * size[todo]).long()
        values[todo] = torch.where(clash, fresh, values[todo])
