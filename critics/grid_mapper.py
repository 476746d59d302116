"""From road ids to the teacher's grid cells: one array, computed once.

A road lies where the mean of its vertices lies, as in LM-TAD's preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.road_network import Bounds, RoadNetwork
from runtime.errors import UserError
from runtime.files import sha256_of_arrays
from runtime.logs import get_logger

if TYPE_CHECKING:
    from config.schema import DistillConfig

logger = get_logger("teacher")
BOUND_NAMES = ("min_lat", "max_lat", "min_lng", "max_lng")


@dataclass(frozen=True)
class Grid:
    """A rectangle of degrees cut into cells of `cell_degrees`, `downsample` of them merged."""

    bounds: Bounds
    cell_degrees: float
    downsample: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """Height (latitude) and width (longitude) in cells."""
        return (
            self._count(self.bounds.max_lat - self.bounds.min_lat),
            self._count(self.bounds.max_lon - self.bounds.min_lon),
        )

    def _count(self, span: float) -> int:
        return max(1, (int(span / self.cell_degrees) + 1) // self.downsample)

    def tokens(
        self, lat: NDArray[np.float64], lon: NDArray[np.float64]
    ) -> NDArray[np.int64]:  # each [R]
        """The cell of each point; points outside the bounds fall into the nearest cell."""
        height, width = self.size
        row = np.floor((lat - self.bounds.min_lat) / self.cell_degrees).astype(np.int64)
        column = np.floor((lon - self.bounds.min_lon) / self.cell_degrees).astype(np.int64)
        row = np.clip(row // self.downsample, 0, height - 1)
        column = np.clip(column // self.downsample, 0, width - 1)
        return np.ascontiguousarray(row * width + column)


class GridMapper:
    """`road_to_token`: the token of each road, int64 [R], contiguous.

    `grip_size` is the teacher's own (height, width). With `verify_grid_dims` a difference is an
    error; without it the cells must still fit the teacher's grid, whose cells they would name.
    """

    def __init__(
        self,
        network: RoadNetwork,
        grid_size: float = 0.001,
        downsample: int = 1,
        bounds: Bounds | None = None,
        grip_size: tuple[int, int] | None = None,
        verify_grid_dims: bool = True,
    ) -> None:
        self.grid = Grid(bounds or network.bounds, grid_size, downsample)
        height, width = self.grid.size
        if grip_size is not None:
            if verify_grid_dims and (height, width) != tuple(grip_size):
                raise UserError(
                    f"The grid is {height} x {width} cells, but the teacher's grip_size is "
                    f"{grip_size[0]} x {grip_size[1]}. The grid follows from {self._describe()}; "
                    "correct distill.bounds, distill.grid_size or distill.downsample, or set "
                    "distill.verify_grid_dims to false."
                )
            if height * width > grip_size[0] * grip_size[1]:
                raise UserError(
                    f"The grid has {height} x {width} = {height * width} cells, more than the "
                    f"teacher's {grip_size[0]} x {grip_size[1]}; it follows from "
                    f"{self._describe()}."
                )
        self.road_to_token = self.grid.tokens(network.vertex_mean_lat, network.vertex_mean_lon)

    @classmethod
    def from_config(
        cls, distill: DistillConfig, network: RoadNetwork, dataset_config: dict[str, Any]
    ) -> GridMapper:
        """The mapper of a teacher: its own bounds first, then `distill.bounds`, then the roads."""
        for name, ours in (("grid_size", distill.grid_size), ("downsample", distill.downsample)):
            theirs = dataset_config.get(name)
            if theirs is not None and not np.isclose(float(theirs), ours, rtol=1e-9):
                raise UserError(
                    f"distill.{name} is {ours}, but the teacher was trained with {theirs}."
                )
        bounds = bounds_of(dataset_config)
        if bounds is None:
            bounds = configured_bounds(distill)
        grip = dataset_config.get("grip_size")
        if grip is None and distill.verify_grid_dims:
            raise UserError(
                "it does not say how large its grid is (grip_size), so that the cells cannot be "
                "verified; export the checkpoint again with tools/export_lmtad_weights.py "
                '--grip_size "H W", or set distill.verify_grid_dims to false.'
            )
        if grip is None:
            logger.warning(
                "The teacher does not say how large its grid is (grip_size): whether its cells are "
                "those of this map could not be verified."
            )
        return cls(
            network,
            distill.grid_size,
            distill.downsample,
            bounds,
            (int(grip[0]), int(grip[1])) if grip is not None else None,
            distill.verify_grid_dims,
        )

    @property
    def grid_dims(self) -> tuple[int, int]:
        """Height and width in cells."""
        return self.grid.size

    @property
    def num_tokens(self) -> int:
        """How many cells the grid has."""
        return self.grid.size[0] * self.grid.size[1]

    def fingerprint(self) -> str:
        """A hash of the mapping."""
        return sha256_of_arrays(self.road_to_token)

    def _describe(self) -> str:
        b = self.grid.bounds
        return (
            f"cells of {self.grid.cell_degrees} degrees (downsample {self.grid.downsample}) over "
            f"latitude {b.min_lat}..{b.max_lat} and longitude {b.min_lon}..{b.max_lon}"
        )


def configured_bounds(distill: DistillConfig) -> Bounds | None:
    """What `distill.bounds` says, if anything."""
    b = distill.bounds
    return None if b is None else Bounds(b.min_lat, b.max_lat, b.min_lng, b.max_lng)


def bounds_of(dataset_config: dict[str, Any]) -> Bounds | None:
    """The bounds in a teacher's dataset_config, as `bounds` or key by key; None without them."""
    stored = dataset_config.get("bounds", dataset_config)
    if not isinstance(stored, dict):
        raise UserError(f"The teacher's bounds are {stored!r}; expected {', '.join(BOUND_NAMES)}.")
    if not any(name in stored for name in BOUND_NAMES):
        return None
    try:
        min_lat, max_lat, min_lng, max_lng = (float(stored[name]) for name in BOUND_NAMES)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"The teacher's bounds are incomplete: {stored!r}.") from error
    return Bounds(min_lat, max_lat, min_lng, max_lng)


def bounds_to_dict(bounds: Bounds) -> dict[str, float]:
    """Bounds as a teacher's dataset_config stores them."""
    values = (bounds.min_lat, bounds.max_lat, bounds.min_lon, bounds.max_lon)
    return dict(zip(BOUND_NAMES, map(float, values), strict=True))
