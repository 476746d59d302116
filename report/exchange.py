"""Trips for other programs: GeoParquet, kepler.gl's trip layer, LibCity's atomic files.

`report.geojson` writes plain GeoJSON. A data frame for movingpandas is `points_frame`.
"""

from __future__ import annotations

import csv
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data.road_network import RoadNetwork
from data.tables import writable_by_polars
from metrics.trips import Trips
from report.geojson import Feature, trip_features, write_feature_collection
from runtime.files import replace_atomically

if TYPE_CHECKING:
    import polars

FloatArray = NDArray[np.float64]

GEOPARQUET_VERSION = "1.1.0"
_LINE, _MULTI_LINE = 2, 5


def write_geoparquet(path: Path, trips: Trips, network: RoadNetwork, kind: str) -> None:
    """One row a trip with its line as WKB, readable by GeoPandas, QGIS and DuckDB."""
    import polars

    features = list(trip_features(trips, network, kind))
    columns = {name: [each["properties"][name] for each in features] for name in _columns(features)}
    columns["geometry"] = [_wkb(each["geometry"]) for each in features]
    metadata = {
        "version": GEOPARQUET_VERSION,
        "primary_column": "geometry",
        "columns": {
            "geometry": {"encoding": "WKB", "geometry_types": ["LineString", "MultiLineString"]}
        },
    }
    with replace_atomically(path) as temporary, writable_by_polars(temporary) as out:
        polars.DataFrame(columns).write_parquet(out, metadata={"geo": json.dumps(metadata)})


def _columns(features: list[Feature]) -> list[str]:
    return list(features[0]["properties"]) if features else []


def _wkb(geometry: dict[str, Any]) -> bytes:
    """A line, or several, as little-endian well-known binary."""
    if geometry["type"] == "LineString":
        return _wkb_line(geometry["coordinates"])
    lines = [_wkb_line(line) for line in geometry["coordinates"]]
    return struct.pack("<BII", 1, _MULTI_LINE, len(lines)) + b"".join(lines)


def _wkb_line(points: list[list[float]]) -> bytes:
    return struct.pack("<BII", 1, _LINE, len(points)) + np.array(points, "<f8").tobytes()


def write_kepler(path: Path, trips: Trips, network: RoadNetwork) -> int:
    """Lines whose points carry their time, as the trip layer of kepler.gl plays them."""
    return write_feature_collection(path, _kepler_features(trips, network))


def _kepler_features(trips: Trips, network: RoadNetwork) -> Iterator[Feature]:
    for index in range(len(trips)):
        lon, lat, seconds = timed_points(trips, network, index)
        points = np.stack([lon, lat, np.zeros(len(lon)), np.round(seconds)], axis=1)
        if len(points) == 1:  # a line has at least two positions
            points = np.repeat(points, 2, axis=0)
        yield {
            "type": "Feature",
            "geometry": {"type": "LineString", "coordinates": points.tolist()},
            "properties": {"trip": index},
        }


def timed_points(
    trips: Trips, network: RoadNetwork, index: int
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Longitude, latitude and time of a trip at every vertex, evenly driven within a road.

    The last road is only entered: a trip says when, not when it was left.
    """
    roads, times = trips.trip(index)
    lon, lat, seconds = [], [], []
    for place, road in enumerate(roads.tolist()):
        span = slice(network.vertex_offsets[road], network.vertex_offsets[road + 1])
        x, y = network.vertex_lon[span], network.vertex_lat[span]
        if place + 1 == len(roads):
            x, y, share = x[:1], y[:1], np.zeros(1)
        else:
            east = np.diff(x) * np.cos(np.radians(y[0]))  # a degree of longitude is shorter
            run = np.concatenate([[0.0], np.cumsum(np.hypot(east, np.diff(y)))])
            # The end of a road is the beginning of the next one.
            x, y, share = x[:-1], y[:-1], (run / (run[-1] or 1.0))[:-1]
        after = times[min(place + 1, len(roads) - 1)]
        lon.append(x)
        lat.append(y)
        seconds.append(times[place] + share * (after - times[place]))
    return np.concatenate(lon), np.concatenate(lat), np.concatenate(seconds)


def points_frame(trips: Trips, network: RoadNetwork) -> polars.DataFrame:
    """One row a point: `trip`, `t`, `x`, `y`, as movingpandas takes them."""
    import polars

    parts = [timed_points(trips, network, index) for index in range(len(trips))]
    counts = [len(lon) for lon, _, _ in parts]
    seconds = np.concatenate([part[2] for part in parts])
    return polars.DataFrame(
        {
            "trip": np.repeat(np.arange(len(trips)), counts),
            "t": polars.Series((seconds * 1000).astype(np.int64)).cast(polars.Datetime("ms")),
            "x": np.concatenate([part[0] for part in parts]),
            "y": np.concatenate([part[1] for part in parts]),
        }
    )


def write_libcity(folder: Path, name: str, trips: Trips, network: RoadNetwork) -> None:
    """`<name>.geo`, `<name>.rel`, `<name>.dyna`: roads, who follows whom, trips road by road."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("geo", "rel"):
        with replace_atomically(folder / f"{name}.{kind}") as temporary:
            shutil.copyfile(network.folder / f"roadmap.{kind}", temporary)
    clock = np.datetime_as_string(trips.times.astype("datetime64[s]")).tolist()
    with (
        replace_atomically(folder / f"{name}.dyna") as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["dyna_id", "type", "time", "entity_id", "traj_id", "location"])
        trip = np.repeat(np.arange(len(trips)), trips.lengths).tolist()
        for step, (number, road) in enumerate(zip(trip, trips.road_ids.tolist(), strict=True)):
            writer.writerow([step, "trajectory", f"{clock[step]}Z", number, 0, road])
