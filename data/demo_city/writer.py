"""Writes a demo city in HOSER's public format: road map and trips, trips streamed by chunks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.demo_city.demand import FIRST_DAY, FREE_SPEED_KMH
from data.demo_city.formatting import format_trips
from data.demo_city.plan import LEVEL_NAMES, PRIMARY, RESIDENTIAL, TERTIARY
from data.demo_city.streets import Streets
from data.demo_city.trips import TripChunk
from runtime.files import atomic_write_bytes

_LANES = (3, 1, 3, 2, 2, 1)
_GEO_HEADER = (
    "geo_id,type,coordinates,highway,lanes,tunnel,bridge,roundabout,oneway,length,maxspeed,u,v\n"
)
_TRIP_HEADER = b"mm_id,entity_id,traj_id,rid_list,time_list\n"
_TIME_BYTES = 20  # 2015-11-05T23:29:48Z


def write_road_map(folder: Path, streets: Streets) -> None:
    """Writes `roadmap.geo` and `roadmap.rel`."""
    highway = highway_texts(streets)
    text = io.StringIO(newline="")
    text.write(_GEO_HEADER)
    writer = csv.writer(text, lineterminator="\n")
    for road in range(streets.num_roads):
        piece = slice(streets.vertex_offsets[road], streets.vertex_offsets[road + 1])
        points = zip(streets.vertex_lon[piece].tolist(), streets.vertex_lat[piece].tolist())
        level = int(streets.level[road])
        # Speed limits are mapped for the wider roads only, as in real maps.
        limit = float(round(FREE_SPEED_KMH[level] / 10) * 10) if level < TERTIARY else 0.0
        writer.writerow(
            [
                road,
                "LineString",
                json.dumps([list(point) for point in points]),
                highway[road],
                _LANES[level],
                0,
                int(streets.is_bridge[road]),
                0,
                int(streets.is_oneway[road]),
                float(streets.length_m[road]),
                limit,
                int(streets.from_node[road]),
                int(streets.to_node[road]),
            ]
        )
    atomic_write_bytes(folder / "roadmap.geo", text.getvalue().encode())
    origin = np.repeat(np.arange(streets.num_roads), np.diff(streets.reach_offsets))
    lines = ["rel_id,type,origin_id,destination_id"]
    for number, pair in enumerate(zip(origin.tolist(), streets.reach_targets.tolist())):
        lines.append(f"{number},geo,{pair[0]},{pair[1]}")
    atomic_write_bytes(folder / "roadmap.rel", ("\n".join(lines) + "\n").encode())


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
