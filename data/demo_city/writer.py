"""Writes a demo city in HOSER's public format: road map and trips, trips streamed by chunks."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import BinaryIO

import numba
import numpy as np
from numpy.typing import NDArray

from data.demo_city.demand import FIRST_DAY, FREE_SPEED_KMH
from data.demo_city.plan import LEVEL_NAMES, PRIMARY, RESIDENTIAL, TERTIARY
from data.demo_city.streets import Streets
from data.demo_city.trips import TripChunk
from runtime.files import atomic_write_bytes

_LANES = (3, 1, 3, 2, 2, 1)
_GEO_HEADER = (
    "geo_id,type,coordinates,highway,lanes,tunnel,bridge,roundabout,oneway,length,maxspeed,u,v\n"
)
_TRIP_HEADER = b"mm_id,entity_id,traj_id,rid_list,time_list\n"
_DAY_S = 86_400
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
        size = _format_trips(
            buffer, self._days, int(FIRST_DAY.astype(np.int64)), self.count, chunk.first,
            chosen, chunk.driver, chunk.start_s, chunk.offsets, chunk.roads, chunk.elapsed_s,
        )  # fmt: skip
        self.file.write(buffer[:size].data)
        self.count += len(chosen)


@numba.njit(nogil=True, cache=True)
def _put_number(buffer, at, number):  # type: ignore[no-untyped-def]
    digits = 1
    rest = number // 10
    while rest > 0:
        digits += 1
        rest //= 10
    for i in range(digits):
        buffer[at + digits - 1 - i] = 48 + number % 10
        number //= 10
    return at + digits


@numba.njit(nogil=True, cache=True)
def _put_time(buffer, at, days, clock_s):  # type: ignore[no-untyped-def]
    buffer[at : at + 11] = days[clock_s // 86_400]
    of_day = clock_s % 86_400
    for part, place in ((of_day // 3600, 11), (of_day // 60 % 60, 14), (of_day % 60, 17)):
        buffer[at + place] = 48 + part // 10
        buffer[at + place + 1] = 48 + part % 10
    buffer[at + 13] = buffer[at + 16] = 58
    buffer[at + 19] = 90
    return at + 20


@numba.njit(nogil=True, cache=True)
def _format_trips(  # type: ignore[no-untyped-def]
    buffer, days, first_day_s, row, first_trip, chosen, driver, start_s, offsets, roads, elapsed_s
):
    """CSV rows as bytes; returns how many bytes were written."""
    comma, quote, newline = 44, 34, 10
    at = 0
    for trip in chosen:
        for number in (row, driver[trip], first_trip + trip):
            at = _put_number(buffer, at, number)
            buffer[at] = comma
            at += 1
        row += 1
        for column in range(2):
            buffer[at] = quote
            at += 1
            for i in range(offsets[trip], offsets[trip + 1]):
                if column == 0:
                    at = _put_number(buffer, at, roads[i])
                else:
                    clock_s = start_s[trip] - first_day_s + elapsed_s[i]
                    at = _put_time(buffer, at, days, clock_s)
                buffer[at] = comma
                at += 1
            buffer[at - 1] = quote
            buffer[at] = comma
            at += 1
        buffer[at - 1] = newline
    return at
