"""Random numbers as hashes of where they are needed: the same there, whatever came before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform_at(seed: int, *places: NDArray[np.integer]) -> NDArray[np.float64]:
    """A number in (0, 1) for each seed and place; the places broadcast."""
    bits = hash_at(seed, *places)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def hash_at(seed: int, *places: NDArray[np.integer]) -> NDArray[np.uint64]:
    """64 bits for each seed and place; the places broadcast."""
    with np.errstate(over="ignore"):
        bits = _mix(np.array(seed % 2**64, dtype=np.uint64) + _GOLDEN)
        for place in places:
            counter = (place.astype(np.uint64) + np.uint64(1)) * _GOLDEN
            bits = _mix(_mix(bits + counter) ^ bits)
    return bits


def draw(seed: int, numbers: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """One integer in [0, limit) for each number."""
    with np.errstate(over="ignore"):
        key = _mix(np.array(seed % 2**64, dtype=np.uint64) + _GOLDEN)
        counter = (numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        bits = _mix(_mix(key + counter) ^ key)
    fraction = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (fraction * limit).astype(np.int64)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The last steps of SplitMix64."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
