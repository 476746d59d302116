"""Command line: a street map becomes the road network of a dataset."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.arguments import example_parser
from data.osm.lines import USUAL_COLUMNS, LineOptions, read_lines
from data.osm.streets import Findings, Ways
from data.osm.tags import CLASS_DEFAULTS, NETWORK_CLASSES, VEHICLE_KEYS, TagReader
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

if TYPE_CHECKING:
    from data.osm.region import Region
    from runtime.results import Results

EXAMPLES = """\
  python -m data.osm --pbf city.osm.pbf --out data/mycity
  python -m data.osm --pbf country.osm.pbf --bbox 9.4,47.0,9.7,47.3 --out data/mycity
  python -m data.osm --pbf city.osm.pbf --polygon area.geojson --network service --out data/mycity
  python -m data.osm --lines streets.geojson --classes 1=motorway,5=residential --out data/mycity
  python -m data.osm --lines streets.geojson --infer-oneway data/mycity --out data/mycity_oneway
  python -m data.osm --graphml osmnx.graphml --out data/mycity
"""


def _parser() -> argparse.ArgumentParser:
    parser = example_parser(
        "Makes roadmap.geo and roadmap.rel from a street map.", EXAMPLES, prog="python -m data.osm"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pbf", type=Path, metavar="FILE", help="OpenStreetMap: .osm.pbf, .osm")
    source.add_argument(
        "--lines",
        type=Path,
        metavar="FILE",
        help="streets as lines: GeoJSON, GeoParquet; with pyogrio shapefiles and others",
    )
    source.add_argument("--graphml", type=Path, metavar="FILE", help="a graph saved by OSMnx")
    parser.add_argument("--out", type=Path, required=True, help="the dataset's folder")
    region = parser.add_mutually_exclusive_group()
    region.add_argument("--bbox", metavar="W,S,E,N", help="this box only, in degrees")
    region.add_argument("--polygon", type=Path, metavar="GEOJSON", help="these polygons only")
    parser.add_argument(
        "--network",
        choices=list(NETWORK_CLASSES),
        default="drive",
        help="drive: public streets; service: and service roads, without driveways; all: and "
        "tracks, busways, car ferries, private roads",
    )
    parser.add_argument(
        "--vehicle", choices=list(VEHICLE_KEYS), default="car", help="whose access rules hold"
    )
    parser.add_argument(
        "--cut",
        choices=["junctions", "ways"],
        help="where roads end: at junctions and where the kind of street or its name changes "
        "(default for OpenStreetMap), or wherever a way, line or edge of the file ends",
    )
    parser.add_argument(
        "--speed",
        action="append",
        default=[],
        metavar="CLASS=KMH",
        help="speed of a class of street where the map names none; several times",
    )
    parser.add_argument("--force", action="store_true", help="replace the network that is there")
    _add_line_arguments(parser)
    return parser


def _add_line_arguments(parser: argparse.ArgumentParser) -> None:
    lines = parser.add_argument_group("lines that are not OpenStreetMap's")
    lines.add_argument(
        "--columns",
        default="",
        metavar="ROLE=COLUMN,...",
        help=f"where the file says what; roles: {', '.join(USUAL_COLUMNS)}; usual names are found",
    )
    lines.add_argument(
        "--classes",
        default="",
        metavar="VALUE=CLASS,...",
        help="the class of street of each value; lines of other values are left out",
    )
    lines.add_argument("--mph", action="store_true", help="speeds without a unit are in mph")
    lines.add_argument("--attribution", default="", metavar="TEXT", help="who has to be named")
    lines.add_argument(
        "--infer-oneway",
        type=Path,
        metavar="DIR",
        help="close directions that the trips matched in this dataset do not drive; it was made "
        "of the same file with the same options",
    )
    lines.add_argument(
        "--oneway-share",
        type=float,
        default=0.03,
        metavar="SHARE",
        help="a street is one-way below this share of its traffic in the lesser direction",
    )
    lines.add_argument(
        "--oneway-min",
        type=int,
        default=20,
        metavar="TRIPS",
        help="streets with fewer trips stay as they are",
    )


def main(argv: list[str] | None = None, trips: Results | None = None) -> None:
    """Parses the command line and makes the network; `trips` go with the one that was there."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    started = time.perf_counter()
    # Imported here, so that --help and mistakes in the arguments cost nothing.
    from data.osm.build import CutAt, make_network, make_segments
    from data.osm.dataset import log_account, write_dataset
    from data.osm.oneway import OnewayRule, infer_oneway

    rule = OnewayRule(arguments.oneway_share, arguments.oneway_min)
    if not 0 <= rule.share <= 0.5 or rule.min_trips < 1:
        raise UserError("--oneway-share is 0 to 0.5, --oneway-min at least 1.")
    region = _region(arguments)
    ways = _read(arguments)
    cut_at: CutAt = arguments.cut or ("ways" if arguments.pbf is None else "junctions")
    segments = make_segments(ways, region, cut_at)
    network = make_network(ways, segments)
    if arguments.infer_oneway is not None:
        open_ways = infer_oneway(network, arguments.infer_oneway, rule)
        network = make_network(ways, segments, open_ways)
    log_account(network.account, ways.findings)
    write_dataset(
        arguments.out,
        network,
        _source(arguments, ways.attribution),
        ways.findings,
        arguments.force,
        trips,
    )
    print(
        f"{arguments.out} has {network.account.num_roads} roads "
        f"({network.account.length_km:.1f} km) and {network.account.num_pairs} turns; made in "
        f"{time.perf_counter() - started:.1f} s."
    )


def _region(arguments: argparse.Namespace) -> Region | None:
    from data.osm.region import Box, Polygons

    if arguments.bbox is not None:
        return Box.parse(arguments.bbox)
    return Polygons.read(arguments.polygon) if arguments.polygon is not None else None


def _read(arguments: argparse.Namespace) -> Ways:
    from data.osm.graphml import read_graphml
    from data.osm.pbf import read_osm

    speeds = _speeds(arguments.speed)
    if arguments.pbf is not None:
        reader = TagReader(arguments.network, arguments.vehicle, Findings(), speeds)
        return read_osm(arguments.pbf, reader, arguments.out.parent)
    # Who may drive there was decided by whoever made the file.
    reader = TagReader("all", arguments.vehicle, Findings(), speeds)
    if arguments.graphml is not None:
        return read_graphml(arguments.graphml, reader)
    options = LineOptions(
        columns=_pairs("--columns", arguments.columns),
        classes=_pairs("--classes", arguments.classes),
        speeds_in_mph=arguments.mph,
        attribution=arguments.attribution,
    )
    return read_lines(arguments.lines, reader, options)


def _pairs(option: str, text: str) -> dict[str, str]:
    pairs = {}
    for part in filter(None, text.split(",")):
        name, sign, value = part.partition("=")
        if not (name and sign and value):
            raise UserError(f"{option} has {part[:80]!r}; NAME=VALUE,NAME=VALUE is expected.")
        pairs[name.strip()] = value.strip()
    return pairs


def _source(arguments: argparse.Namespace, attribution: str) -> dict[str, Any]:
    """What the network depends on, for the report."""
    options = {
        name: value.name if isinstance(value, Path) else value
        for name, value in vars(arguments).items()
        if name not in ("out", "force", "attribution", "pbf", "lines", "graphml") and value
    }
    file = arguments.pbf or arguments.lines or arguments.graphml
    return {"file": file.name, "attribution": attribution, "options": options}


def _speeds(assignments: list[str]) -> dict[str, float]:
    speeds = {}
    for assignment in assignments:
        name, _, number = assignment.partition("=")
        try:
            speed = float(number)
        except ValueError:
            speed = 0.0
        if name not in CLASS_DEFAULTS or not 0 < speed <= 400:
            raise UserError(
                f"--speed {assignment[:80]!r} is not CLASS=KMH; classes are "
                f"{', '.join(CLASS_DEFAULTS)}."
            )
        speeds[name] = speed
    return speeds


if __name__ == "__main__":
    run_main(main)
