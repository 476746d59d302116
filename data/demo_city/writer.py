"""Writes a demo city in HOSER's public format: road map and trips, trips streamed by chunks."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.demo_city.demand import FIRST_DAY, FREE_SPEED_KMH
from data.demo_city.formatting import format_trips
from data.demo_city.plan import LEVEL_NAMES, PRIMARY, RESIDENTIAL, TERTIARY
from data.demo_city.streets import Streets
from data.demo_city.trips import TripChunk
from data.roadmap_writing import RoadRows, write_road_rows

_LANES = (3, 1, 3, 2, 2, 1)
_TRIP_HEADER = b"mm_id,entity_id,traj_id,rid_list,time_list\n"
_TIME_BYTES = 20  # 2015-11-05T23:29:48Z


def write_road_map(folder: Path, streets: Streets) -> None:
    """Writes `roadmap.geo` and `roadmap.rel`."""
    level, nothing = streets.level, np.zeros(streets.num_roads, dtype=bool)
    # Speed limits are mapped for the wider roads only, as in real maps.
    limits = np.round(FREE_SPEED_KMH / 10) * 10
    write_road_rows(
        folder,
        RoadRows(
            vertex_offsets=streets.vertex_offsets,
            vertex_lon=streets.vertex_lon,
            vertex_lat=streets.vertex_lat,
            highway=highway_texts(streets),
            lanes=np.array(_LANES)[level],
            tunnel=nothing,
            bridge=streets.is_bridge,
            roundabout=nothing,
            oneway=streets.is_oneway,
            length_m=streets.length_m,
            maxspeed_kmh=np.where(level < TERTIARY, limits[level], 0.0),
            from_node=streets.from_node,
            to_node=streets.to_node,
            origin=np.repeat(np.arange(streets.num_roads), np.diff(streets.reach_offsets)),
            target=streets.reach_targets,
        ),
    )


def highway_texts(streets: Streets) -> list[str]:
    """The `highway` field of each road; some streets carry two types, as merged map edges do."""
    lucky = (streets.chain * 2654435761 % 1000) / 1000
    texts = []
    for level, share in zip(streets.level.tolist(), lucky.tolist()):
        name = LEVEL_NAMES[level]
        if level == PRIMARY and share < 0.12:
            name = "['primary', 'unclassified']"
        elif level == TERTIARY and share < 0.15:
            name = "['unclassified', 'tertiary']"
        elif level == RESIDENTIAL and share < 0.06:
            name = "unclassified"
        texts.append(name)
    return texts


class TripWriter:
    """Appends trips to an open CSV file; `mm_id` counts the rows of the file."""

    def __init__(self, file: BinaryIO, weeks: int) -> None:
        self.file = file
        self.count = 0
        # Trips may run past the last midnight.
        days = FIRST_DAY.astype("datetime64[D]") + np.arange(7 * weeks + 2)
        text = "".join(f"{day}T" for day in np.datetime_as_string(days))
        self._days = np.frombuffer(text.encode(), dtype=np.uint8).reshape(-1, 11)
        file.write(_TRIP_HEADER)

    def write(self, chunk: TripChunk, chosen: NDArray[np.int64]) -> None:
        """Appends the `chosen` trips (numbers within the chunk), in that order."""
        lengths = np.diff(chunk.offsets)[chosen]
        buffer = np.empty(int(lengths.sum()) * (_TIME_BYTES + 9) + 64 * len(chosen), np.uint8)
        size = format_trips(
            buffer,
            self._days,
            self.count,
            chunk.first,
            chosen,
            chunk.driver,
            chunk.clock_s,
            chunk.offsets,
            chunk.roads,
            chunk.elapsed_s,
        )
        self.file.write(buffer[:size].data)
        self.count += len(chosen)
