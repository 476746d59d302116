"""The distances between a real and a generated trip, compiled by numba.

Hausdorff, dynamic time warping and edit distance of many pairs, in parallel over the pairs and
with memory for one row (exact) or one narrow window (fastdtw) of a pair at a time. How pairs are
chosen is `metrics.od`; feeding them here in chunks is `metrics.local`.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from metrics.geometry_kernels import haversine
from runtime.jit import kernel

FloatArray = NDArray[np.float64]

DTW_RADIUS_KM = 6378.0
EDR_RADIUS_M = 6378137.0
_RADIANS = math.pi / 180.0


@kernel()
def _chord_limit(eps_m: float) -> float:
    """The squared half chord that a great-circle distance of `eps_m` metres has."""
    half_angle = eps_m / (2.0 * EDR_RADIUS_M)
    return 2.0 if half_angle >= math.pi / 2.0 else math.sin(half_angle) ** 2


@kernel()
def _one_pass(
    lat1: FloatArray,
    lon1: FloatArray,
    lat2: FloatArray,
    lon2: FloatArray,
    eps_chord: float,
    with_dtw: bool,
) -> tuple[float, float, int]:
    """Hausdorff (km), exact DTW (km, where asked for) and edit operations, row by row.

    The published edit distance takes longitude for latitude and the other way round when it
    compares a distance with eps; its numbers depend on it, so this does the same.
    """
    n, m = len(lat1), len(lat2)
    column_min = np.full(m, 2.0)
    warp = np.empty(m)
    edits = np.empty(m + 1, dtype=np.int64)
    cos_lat2, cos_lon2 = np.empty(m), np.empty(m)
    for j in range(m):
        cos_lat2[j] = math.cos(lat2[j] * _RADIANS)
        cos_lon2[j] = math.cos(lon2[j] * _RADIANS)
        edits[j] = j
    edits[m] = m
    row_max = 0.0
    for i in range(n):
        cos_lat1, cos_lon1 = math.cos(lat1[i] * _RADIANS), math.cos(lon1[i] * _RADIANS)
        row_min = 2.0
        warp_diagonal = 0.0 if i == 0 else np.inf
        edit_diagonal = i
        edits[0] = i + 1
        for j in range(m):
            sin_lat = math.sin((lat2[j] * _RADIANS - lat1[i] * _RADIANS) / 2.0)
            sin_lon = math.sin((lon2[j] * _RADIANS - lon1[i] * _RADIANS) / 2.0)
            square_lat, square_lon = sin_lat * sin_lat, sin_lon * sin_lon
            chord = square_lat + cos_lat1 * cos_lat2[j] * square_lon
            row_min = min(row_min, chord)
            column_min[j] = min(column_min[j], chord)

            swapped = square_lon + cos_lon1 * cos_lon2[j] * square_lat
            change = 0 if swapped < eps_chord else 1
            best_edit = min(edits[j] + 1, edits[j + 1] + 1, edit_diagonal + change)
            edit_diagonal = edits[j + 1]
            edits[j + 1] = best_edit

            if with_dtw:
                step = 2.0 * DTW_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))
                before = np.inf if i == 0 else warp[j]
                best = min(before, warp_diagonal)
                if j > 0:
                    best = min(best, warp[j - 1])
                warp[j] = best + step
                warp_diagonal = before
        row_max = max(row_max, row_min)
    farthest = max(row_max, column_min.max())
    hausdorff = 2.0 * DTW_RADIUS_KM * math.asin(math.sqrt(min(1.0, farthest)))
    return hausdorff, warp[m - 1] if with_dtw else np.nan, edits[m]


@kernel()
def _halve(values: FloatArray, length: int, out: FloatArray) -> None:
    """Writes the means of neighbours; the last of an odd number is left out."""
    for i in range(length // 2):
        out[i] = (values[2 * i] + values[2 * i + 1]) / 2.0


@kernel()
def _windowed_dtw(
    lat1: FloatArray,
    lon1: FloatArray,
    lat2: FloatArray,
    lon2: FloatArray,
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    first: NDArray[np.int64],
    last: NDArray[np.int64],
) -> float:
    """DTW within columns `low[i]` to `high[i]` (exclusive) of each row.

    Leaves the first and last column of the optimal path in each row in `first` and `last`. Equal
    costs are decided as the published implementation does: up, then left, then diagonal.
    """
    n, m = len(lat1), len(lat2)
    starts = np.empty(n + 1, dtype=np.int64)
    starts[0] = 0
    for i in range(n):
        starts[i + 1] = starts[i] + high[i] - low[i]
    cost = np.empty(starts[n])
    came_from = np.empty(starts[n], dtype=np.int8)
    for i in range(n):
        for j in range(low[i], high[i]):
            step = haversine(lat1[i], lon1[i], lat2[j], lon2[j], DTW_RADIUS_KM)
            up, left, diagonal = np.inf, np.inf, np.inf
            if i == 0:
                if j == 0:
                    diagonal = 0.0
            else:
                above = starts[i - 1] - low[i - 1]
                if low[i - 1] <= j < high[i - 1]:
                    up = cost[above + j]
                if low[i - 1] <= j - 1 < high[i - 1]:
                    diagonal = cost[above + j - 1]
            cell = starts[i] + j - low[i]
            if j > low[i]:
                left = cost[cell - 1]
            up, left, diagonal = up + step, left + step, diagonal + step
            best, origin = up, 0
            if left < best:
                best, origin = left, 1
            if diagonal < best:
                best, origin = diagonal, 2
            cost[cell] = best
            came_from[cell] = origin
    i, j = n - 1, m - 1
    last[i] = j
    while i > 0 or j > 0:
        origin = came_from[starts[i] + j - low[i]]
        if origin != 1:
            first[i] = j
            i -= 1
            j -= 0 if origin == 0 else 1
            last[i] = j
        else:
            j -= 1
    first[0] = 0
    return cost[starts[n] - 1]


@kernel()
def fast_dtw(
    lat1: FloatArray, lon1: FloatArray, lat2: FloatArray, lon2: FloatArray, radius: int
) -> float:
    """The approximate DTW (km) of the fastdtw package: same coarsening, windows and ties."""
    n, m = len(lat1), len(lat2)
    levels = 0
    while (n >> levels) >= radius + 2 and (m >> levels) >= radius + 2:
        levels += 1
    # Level k lies in the arrays from start(k); every level has at most half the points above.
    points1, points2 = np.empty((2, 2 * n)), np.empty((2, 2 * m))
    points1[0, :n], points1[1, :n] = lat1, lon1
    points2[0, :m], points2[1, :m] = lat2, lon2
    start1, start2 = np.zeros(levels + 1, dtype=np.int64), np.zeros(levels + 1, dtype=np.int64)
    for k in range(levels):
        start1[k + 1], start2[k + 1] = start1[k] + (n >> k), start2[k] + (m >> k)
        for axis in range(2):
            _halve(points1[axis, start1[k] :], n >> k, points1[axis, start1[k + 1] :])
            _halve(points2[axis, start2[k] :], m >> k, points2[axis, start2[k + 1] :])
    low, high = np.zeros(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    first, last = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    high[: n >> levels] = m >> levels
    distance = 0.0
    for k in range(levels, -1, -1):
        rows, columns = n >> k, m >> k
        if k < levels:
            path_rows = n >> (k + 1)
            for i in range(rows):
                top, bottom = max(i // 2 - radius, 0), min(i // 2 + radius, path_rows - 1)
                low[i] = max(0, 2 * (first[top] - radius))
                high[i] = min(columns, 2 * (last[bottom] + radius) + 2)
        distance = _windowed_dtw(
            points1[0, start1[k] : start1[k] + rows],
            points1[1, start1[k] : start1[k] + rows],
            points2[0, start2[k] : start2[k] + columns],
            points2[1, start2[k] : start2[k] + columns],
            low[:rows],
            high[:rows],
            first[:rows],
            last[:rows],
        )
    return distance


@kernel(parallel=True)
def measure_pairs(
    roads1: NDArray[np.int32],
    offsets1: NDArray[np.int64],
    pair1: NDArray[np.int64],
    roads2: NDArray[np.int32],
    offsets2: NDArray[np.int64],
    pair2: NDArray[np.int64],
    road_lat: FloatArray,
    road_lon: FloatArray,
    eps_m: float,
    fast_radius: int,
    hausdorff_km: FloatArray,
    dtw_km: FloatArray,
    edits: NDArray[np.int64],
) -> None:
    """Measures trip `pair1[k]` against trip `pair2[k]`; `fast_radius` 0 means exact DTW."""
    eps_chord = _chord_limit(eps_m)
    for k in numba.prange(len(pair1)):
        ids1 = roads1[offsets1[pair1[k]] : offsets1[pair1[k] + 1]]
        ids2 = roads2[offsets2[pair2[k]] : offsets2[pair2[k] + 1]]
        lat1, lon1 = road_lat[ids1], road_lon[ids1]
        lat2, lon2 = road_lat[ids2], road_lon[ids2]
        far, warp, changes = _one_pass(lat1, lon1, lat2, lon2, eps_chord, fast_radius == 0)
        hausdorff_km[k] = far
        edits[k] = changes
        dtw_km[k] = warp if fast_radius == 0 else fast_dtw(lat1, lon1, lat2, lon2, fast_radius)
