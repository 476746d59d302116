"""The grid over the roads, and the roads near a point. Compiled by numba."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import Grid, Model, Roads
from runtime.jit import kernel


@kernel()
def cells_of_pieces(
    roads: Roads,
    grid: Grid,
    counts: NDArray[np.int64],
    pieces: NDArray[np.int32],
    fill: bool,
) -> None:
    """Counts the cells each piece passes, or with `fill` writes the pieces (counts: next place)."""
    for road in range(len(roads.length_m)):
        for v in range(roads.vertex_offsets[road], roads.vertex_offsets[road + 1] - 1):
            ax, ay = (roads.x[v] - grid.x0) / grid.cell_x, (roads.y[v] - grid.y0) / grid.cell_y
            bx = (roads.x[v + 1] - grid.x0) / grid.cell_x
            by = (roads.y[v + 1] - grid.y0) / grid.cell_y
            if ay > by:
                ax, ay, bx, by = bx, by, ax, ay
            for row in range(int(ay), min(int(by), grid.rows - 1) + 1):
                low, high = ax, bx
                if by > ay:
                    at_low = min(max((row - ay) / (by - ay), 0.0), 1.0)
                    at_high = min(max((row + 1 - ay) / (by - ay), 0.0), 1.0)
                    low, high = ax + at_low * (bx - ax), ax + at_high * (bx - ax)
                if low > high:
                    low, high = high, low
                last = min(int(high + 1e-9), grid.columns - 1)
                for column in range(max(int(low - 1e-9), 0), last + 1):
                    cell = row * grid.columns + column
                    if fill:
                        pieces[counts[cell]] = v
                    counts[cell] += 1


@kernel(inner=True)
def near_roads(
    roads: Roads,
    grid: Grid,
    x: float,
    y: float,
    stretch: float,
    radius: float,
    road_of: NDArray[np.int32],
    along_of: NDArray[np.float32],
    distance_of: NDArray[np.float32],
) -> int:
    """The roads within `radius` of a point, nearest first, each at its nearest place; how many."""
    limit = len(road_of)
    count = 0
    reach_x, reach_y = radius / stretch / grid.cell_x, radius / grid.cell_y
    column, row = (x - grid.x0) / grid.cell_x, (y - grid.y0) / grid.cell_y
    first_column = max(math.floor(column - reach_x), 0)
    last_column = min(math.floor(column + reach_x), grid.columns - 1)
    first_row = max(math.floor(row - reach_y), 0)
    last_row = min(math.floor(row + reach_y), grid.rows - 1)
    for r in range(first_row, last_row + 1):
        cell = r * grid.columns
        for k in range(
            grid.offsets[cell + first_column] if first_column <= last_column else 0,
            grid.offsets[cell + last_column + 1] if first_column <= last_column else 0,
        ):
            v = grid.pieces[k]
            ax, ay = (roads.x[v] - x) * stretch, roads.y[v] - y
            dx, dy = (roads.x[v + 1] - roads.x[v]) * stretch, roads.y[v + 1] - roads.y[v]
            square = dx * dx + dy * dy
            share = 0.0
            if square > 0.0:
                share = min(max(-(ax * dx + ay * dy) / square, 0.0), 1.0)
            distance = math.hypot(ax + share * dx, ay + share * dy)
            if distance > radius or (count == limit and distance >= distance_of[count - 1]):
                continue
            road = grid.road_of_vertex[v]
            place = count
            for known in range(count):
                if road_of[known] == road:
                    place = known
                    break
            if place < count and distance_of[place] <= distance:
                continue
            if place == count:
                if count == limit:
                    place = count - 1
                else:
                    count += 1
            while place > 0 and distance_of[place - 1] > distance:
                road_of[place] = road_of[place - 1]
                along_of[place] = along_of[place - 1]
                distance_of[place] = distance_of[place - 1]
                place -= 1
            road_of[place] = road
            along_of[place] = roads.along_m[v] + share * (roads.along_m[v + 1] - roads.along_m[v])
            distance_of[place] = distance
    return count


@kernel(inner=True)
def candidates(
    roads: Roads,
    grid: Grid,
    model: Model,
    x: float,
    y: float,
    stretch: float,
    road_of: NDArray[np.int32],
    along_of: NDArray[np.float32],
    distance_of: NDArray[np.float32],
) -> int:
    """The roads a point may be on: within the radius, which grows where nothing is found."""
    radius = model.radius_m
    while True:
        count = near_roads(roads, grid, x, y, stretch, radius, road_of, along_of, distance_of)
        if count > 0 and 1.5 * distance_of[0] + model.sigma_m <= radius:
            return count
        if radius >= model.max_radius_m:
            return count
        radius = min(2.0 * radius, model.max_radius_m)


@kernel()
def nearest_distances(
    roads: Roads,
    grid: Grid,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    stretch: NDArray[np.float64],
    radius: float,
    out: NDArray[np.float32],
) -> None:
    """The distance of each point to the nearest road; infinite where none is within `radius`."""
    road_of = np.empty(1, dtype=np.int32)
    along_of = np.empty(1, dtype=np.float32)
    distance_of = np.empty(1, dtype=np.float32)
    for i in range(len(x)):
        near = 30.0
        out[i] = np.inf
        while near < 2.0 * radius:
            if near_roads(
                roads, grid, x[i], y[i], stretch[i], near, road_of, along_of, distance_of
            ):
                out[i] = distance_of[0]
                break
            near *= 2.0
