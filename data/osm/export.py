"""A dataset's road network as an OpenStreetMap file: `python -m data.osm.export`.

`python -m data.osm` makes the same network of the file again: a two-way street is one way, and
what `roadmap.rel` leaves out at a junction is a turn restriction.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from config.arguments import example_parser
from data.csv_reading import read_columns
from data.osm.streets import IntArray
from data.osm.tags import CLASS_DEFAULTS
from data.roadmap_files import RoadTable, read_rel, read_roads
from runtime.errors import UserError, run_main
from runtime.files import replace_atomically
from runtime.logs import get_logger, setup_logging
from runtime.results import Results, add_force_argument

logger = get_logger("osm")

EXAMPLES = """\
  python -m data.osm.export --data_dir data/demo --out demo.osm.pbf
  python -m data.osm --pbf demo.osm.pbf --out data/demo_again
"""
_FORMATS = {".pbf": "pbf", ".osm": "xml", ".osm.gz": "xml.gz", ".osm.bz2": "xml.bz2"}
_OPTIONAL_COLUMNS = ["u", "v", "lanes", "maxspeed", "tunnel", "bridge", "roundabout"]


@dataclass(frozen=True)
class _City:
    table: RoadTable
    from_node: IntArray  # [R] 1, 2, ... in the order of the dataset's own numbers
    to_node: IntArray  # [R]
    twin: IntArray  # [R] the same street the other way, or -1
    columns: dict[str, list[str]]
    following: list[list[int]]  # by road

    def way_of(self, road: int) -> int:
        """The way that a road is part of."""
        twin = int(self.twin[road])
        return 1 + (road if twin < 0 else min(road, twin))


def export_osm(data_dir: Path, out: Path) -> int:
    """Writes the network of `data_dir` to `out`; returns how many turns OSM cannot express."""
    format_name = next((name for end, name in _FORMATS.items() if out.name.endswith(end)), None)
    if format_name is None:
        raise UserError(f"{out} has no ending of {', '.join(_FORMATS)}.")
    try:
        import osmium
    except ImportError as error:
        raise UserError(
            'OpenStreetMap files need the package osmium: pip install "hoser-distil[osm]".'
        ) from error
    city = _read_city(data_dir)
    with replace_atomically(out) as temporary:
        try:
            file = osmium.io.File(str(temporary), format_name)
            with osmium.SimpleWriter(file, overwrite=True) as writer:
                lost = _write(city, writer, osmium.osm.mutable)
        except RuntimeError as error:
            raise UserError(f"{out} cannot be written: {error}.") from error
    if lost:
        logger.warning(
            "%d U-turns that are allowed where other roads go on are left out; a map has no sign "
            "for them.",
            lost,
        )
    return lost


def _read_city(folder: Path) -> _City:
    path = folder / "roadmap.geo"
    table = read_roads(path)
    columns: dict[str, list[str]] = {name: [] for name in _OPTIONAL_COLUMNS}
    for _, fields in read_columns(path, [], _OPTIONAL_COLUMNS):
        for name, text in zip(_OPTIONAL_COLUMNS, fields):
            columns[name].append(text.strip())
    origin, target = read_rel(folder / "roadmap.rel", table.num_roads)
    following: list[list[int]] = [[] for _ in range(table.num_roads)]
    for a, b in zip(origin.tolist(), target.tolist()):
        following[a].append(b)
    from_node, to_node = _nodes(table, columns)
    return _City(table, from_node, to_node, _twins(table, from_node, to_node), columns, following)


def _nodes(table: RoadTable, columns: dict[str, list[str]]) -> tuple[IntArray, IntArray]:
    """The nodes of the columns u and v, else of the places of the roads' ends."""
    size = table.num_roads
    try:
        ends = np.array([int(text) for text in columns["u"] + columns["v"]], dtype=np.int64)
        ids = ends
    except (ValueError, OverflowError):
        first, last = table.vertex_offsets[:-1], table.vertex_offsets[1:] - 1
        vertex = np.concatenate([first, last])
        places = np.stack([table.vertex_lon[vertex], table.vertex_lat[vertex]], axis=1)
        ids = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    rank = np.unique(ids, return_inverse=True)[1].reshape(-1).astype(np.int64) + 1
    return rank[:size], rank[size:]


def _twins(table: RoadTable, from_node: IntArray, to_node: IntArray) -> IntArray:
    twin = np.full(table.num_roads, -1, dtype=np.int64)
    waiting: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for road, (u, v) in enumerate(zip(from_node.tolist(), to_node.tolist())):
        piece = slice(table.vertex_offsets[road], table.vertex_offsets[road + 1])
        lon, lat = table.vertex_lon[piece], table.vertex_lat[piece]
        kind = table.highway[road]
        others = waiting[(v, u, kind, lon[::-1].tobytes(), lat[::-1].tobytes())]
        if others:
            other = others.pop()
            twin[road], twin[other] = other, road
        else:
            waiting[(u, v, kind, lon.tobytes(), lat.tobytes())].append(road)
    return twin


def _write(city: _City, writer: Any, mutable: Any) -> int:
    ways = [road for road in range(city.table.num_roads) if not 0 <= city.twin[road] < road]
    refs = _write_nodes(city, writer, mutable, ways)
    for road, nodes in zip(ways, refs):
        tags = _tags(city, road)
        writer.add_way(mutable.Way(id=city.way_of(road), nodes=nodes, tags=tags, version=1))
    return _write_restrictions(city, writer, mutable)


def _write_nodes(city: _City, writer: Any, mutable: Any, ways: list[int]) -> list[list[int]]:
    """Writes all nodes, those of the junctions first; returns the nodes of each way."""
    table = city.table
    places: dict[int, tuple[float, float]] = {}
    refs = []
    fresh = int(max(city.from_node.max(), city.to_node.max())) + 1
    for road in ways:
        piece = slice(table.vertex_offsets[road], table.vertex_offsets[road + 1])
        points = list(zip(table.vertex_lon[piece].tolist(), table.vertex_lat[piece].tolist()))
        inner = list(range(fresh, fresh + len(points) - 2))
        fresh += len(inner)
        nodes = [int(city.from_node[road]), *inner, int(city.to_node[road])]
        refs.append(nodes)
        for node, place in zip(nodes, points):
            places.setdefault(node, place)
    for node in sorted(places):
        writer.add_node(mutable.Node(id=node, location=places[node], version=1))
    return refs


def _tags(city: _City, road: int) -> dict[str, str]:
    twin = int(city.twin[road])
    highway = city.table.highway[road]
    tags = {
        "highway": highway if highway in CLASS_DEFAULTS else "road",
        "oneway": "yes" if twin < 0 else "no",
        "name": f"road {road}",
    }
    for name in ("tunnel", "bridge"):
        if _number(city.columns[name][road]):
            tags[name] = "yes"
    if _number(city.columns["roundabout"][road]):
        tags["junction"] = "roundabout"
    for name in ("lanes", "maxspeed"):
        along = _number(city.columns[name][road])
        against = along if twin < 0 else _number(city.columns[name][twin])
        if along == against:
            both_lanes = name == "lanes" and twin >= 0
            values = {name: along * 2 if both_lanes else along}
        else:
            values = {f"{name}:forward": along, f"{name}:backward": against}
        tags |= {key: f"{value:g}" for key, value in values.items() if value > 0}
    return tags


def _number(text: str) -> float:
    """The number of a column; 0 where it holds none, as a list of a merged road does."""
    try:
        number = float(text)
    except ValueError:
        return float(text.lower() == "true")
    return number if np.isfinite(number) else 0.0


def _write_restrictions(city: _City, writer: Any, mutable: Any) -> int:
    """Forbids what `roadmap.rel` leaves out; returns how many U-turns cannot be allowed."""
    leaving: dict[int, list[int]] = defaultdict(list)
    for road, node in enumerate(city.from_node.tolist()):
        leaving[node].append(road)
    lost, number = 0, 0
    for road, node in enumerate(city.to_node.tolist()):
        allowed = set(city.following[road])
        returns = {road, int(city.twin[road])}
        goes_on = bool(allowed - returns)
        for target in leaving[node]:
            is_return = target in returns
            if is_return and goes_on:
                lost += target in allowed
                continue
            if target in allowed:
                continue
            number += 1
            members = [
                ("w", city.way_of(road), "from"),
                ("n", node, "via"),
                ("w", city.way_of(target), "to"),
            ]
            kind = "no_u_turn" if is_return else "no_turn"
            tags = {"type": "restriction", "restriction": kind}
            writer.add_relation(mutable.Relation(id=number, members=members, tags=tags, version=1))
    return lost


def _parser() -> argparse.ArgumentParser:
    parser = example_parser(
        "Writes a dataset's road network as an OpenStreetMap file.",
        EXAMPLES,
        prog="python -m data.osm.export",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset's folder")
    parser.add_argument(
        "--out", type=Path, required=True, help=f"the file to write: {', '.join(_FORMATS)}"
    )
    add_force_argument(parser)
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the file."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    results = Results.file(arguments.out, "data.osm.export", arguments.force)
    results.check()
    with results.written():
        export_osm(arguments.data_dir, arguments.out)
    print(f"The road network is in {arguments.out}.")


if __name__ == "__main__":
    run_main(main)
