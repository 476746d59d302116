"""Command line: a street map becomes the road network of a dataset."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from config.arguments import example_parser
from data.osm.tags import CLASS_DEFAULTS, NETWORK_CLASSES, VEHICLE_KEYS, TagReader
from runtime.errors import UserError, run_main
from runtime.logs import get_logger, setup_logging

logger = get_logger("osm")

EXAMPLES = """\
  python -m data.osm --pbf city.osm.pbf --out data/mycity
  python -m data.osm --pbf country.osm.pbf --bbox 9.4,47.0,9.7,47.3 --out data/mycity
  python -m data.osm --pbf city.osm.pbf --polygon area.geojson --network service --out data/mycity
"""


def _parser() -> argparse.ArgumentParser:
    parser = example_parser(
        "Makes roadmap.geo and roadmap.rel from a street map.", EXAMPLES, prog="python -m data.osm"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--pbf", type=Path, metavar="FILE", help="OpenStreetMap: .osm.pbf, .osm")
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
        default="junctions",
        help="where roads end: at junctions and where the kind of street or its name changes, or "
        "also wherever a way ends in the file",
    )
    parser.add_argument(
        "--speed",
        action="append",
        default=[],
        metavar="CLASS=KMH",
        help="speed of a class of street where the map names none; several times",
    )
    parser.add_argument("--force", action="store_true", help="replace the network that is there")
    return parser


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and makes the network."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    started = time.perf_counter()
    # Imported here, so that --help and mistakes in the arguments cost nothing.
    from data.osm.build import make_network, make_segments
    from data.osm.dataset import log_account, write_dataset
    from data.osm.pbf import read_osm
    from data.osm.region import Box, Polygons, Region
    from data.osm.streets import Findings

    region: Region | None = None
    if arguments.bbox is not None:
        region = Box.parse(arguments.bbox)
    elif arguments.polygon is not None:
        region = Polygons.read(arguments.polygon)
    findings = Findings()
    reader = TagReader(arguments.network, arguments.vehicle, findings, _speeds(arguments.speed))
    ways = read_osm(arguments.pbf, reader, arguments.out.parent)
    segments = make_segments(ways, region, arguments.cut)
    network = make_network(ways, segments)
    log_account(network.account, findings)
    write_dataset(
        arguments.out, network, _source(arguments, ways.attribution), findings, arguments.force
    )
    print(
        f"{arguments.out} has {network.account.num_roads} roads "
        f"({network.account.length_km:.1f} km) and {network.account.num_pairs} turns; made in "
        f"{time.perf_counter() - started:.1f} s."
    )


def _source(arguments: argparse.Namespace, attribution: str) -> dict[str, Any]:
    return {
        "file": arguments.pbf.name,
        "attribution": attribution,
        "bbox": arguments.bbox,
        "polygon": arguments.polygon and arguments.polygon.name,
        "network": arguments.network,
        "vehicle": arguments.vehicle,
        "cut": arguments.cut,
        "speed": arguments.speed,
    }


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
