"""Which generated trip is compared with which real one: those that join the same two cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from metrics.trips import Trips
from runtime.errors import UserError

IntArray = NDArray[np.int64]

MAX_CELLS = 1 << 31


@dataclass(frozen=True)
class OdGrid:
    """The grid cell of every road, over the extent of the road centres."""

    cell_of_road: IntArray  # [R], x · height + y
    num_cells: int

    @classmethod
    def over(cls, network: RoadNetwork, grid_size: float) -> OdGrid:
        """Square cells of `grid_size` degrees."""
        lon, lat = network.center_lon, network.center_lat
        with np.errstate(over="ignore"):  # cells without number are refused below
            x = np.floor((lon - lon.min()) / grid_size)
            y = np.floor((lat - lat.min()) / grid_size)
        width, height = x.max() + 1, y.max() + 1
        if not width * height < MAX_CELLS:
            raise UserError(
                f"grid_size {grid_size} cuts the network into {width * height:.0f} cells, more "
                "than can be told apart; give a larger one, in degrees (0.001 is about 100 m)."
            )
        cell = x.astype(np.int64) * int(height) + y.astype(np.int64)
        return cls(cell, int(width) * int(height))

    def od_key(self, trips: Trips) -> IntArray:
        """One number for origin cell and destination cell; −1 for a trip of one road. [n]"""
        key = self.cell_of_road[trips.origin] * self.num_cells
        key += self.cell_of_road[trips.destination]
        return np.where(trips.lengths > 1, key, -1)


@dataclass(frozen=True)
class Pairs:
    """Real trip `real[k]` goes with generated trip `generated[k]`; ascending in `generated`."""

    real: IntArray  # [K]
    generated: IntArray  # [K]
    matched_od: int  # generated OD pairs that occur among the real ones
    generated_od: int  # different OD pairs among the generated trips

    def __len__(self) -> int:
        return len(self.real)

    @property
    def od_match_rate(self) -> float:
        """The share of generated OD pairs that occur among the real ones."""
        return self.matched_od / self.generated_od if self.generated_od else 0.0


def pair_trips(real: Trips, generated: Trips, grid: OdGrid) -> Pairs:
    """Pairs the i-th real with the i-th generated trip of each OD pair."""
    real_key, generated_key = grid.od_key(real), grid.od_key(generated)
    order = np.argsort(real_key, kind="stable")
    start = np.searchsorted(real_key[order], generated_key, side="left")
    stop = np.searchsorted(real_key[order], generated_key, side="right")
    position = start + _rank_among_equals(generated_key)
    chosen = np.flatnonzero((generated_key >= 0) & (position < stop))
    different = np.unique(generated_key[generated_key >= 0])
    return Pairs(
        real=order[position[chosen]],
        generated=chosen,
        matched_od=int(np.isin(different, real_key).sum()),
        generated_od=len(different),
    )


def _rank_among_equals(key: IntArray) -> IntArray:
    """For each key, how many equal ones stand before it."""
    order = np.argsort(key, kind="stable")
    rank = np.empty(len(key), dtype=np.int64)
    rank[order] = np.arange(len(key)) - np.searchsorted(key[order], key[order], side="left")
    return rank
