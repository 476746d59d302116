"""What reading an OpenStreetMap extract costs as it grows, and what a country's would.

python -m bench.osm --pbf extract.osm.pbf [--copies 1,4,16] [--quick]

The extract is laid beside itself, copy by copy, each joined to the one before by a street, so that
all of it is kept; `python -m data.osm` turns each size into a dataset. Time and memory beyond the
smallest grow by the megabyte, which gives the cost of a gigabyte. Prints the figures, keeps them
with the other benches' and writes them into `docs/own-city.md`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench._common import parser, print_table
from bench.match_page import keep
from bench.programs import run
from data.csv_reading import read_columns
from data.roadmap_files import read_roads
from runtime.errors import UserError, run_main

GIGABYTE_MB = 1000.0
_IDS = 20_000_000_000  # numbers of each copy; more than OpenStreetMap has used


@dataclass(frozen=True)
class Cost:
    """Of one size."""

    copies: int
    file_mb: float
    roads: int
    seconds: float
    peak_mib: float


def main() -> None:
    """Measures each size and what a gigabyte would take."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--pbf", type=Path, required=True, help="an extract")
    arguments.add_argument("--copies", default="1,4,16", help="how often it is laid beside itself")
    options = arguments.parse_args()
    copies = [1, 2] if options.quick else _numbers(options.copies)
    costs = measure(options.pbf, copies)
    whole = of_a_gigabyte(costs)
    rows = [
        [cost.copies, f"{cost.file_mb:.1f}", f"{cost.roads:,}", f"{cost.seconds:.1f}",
         f"{cost.peak_mib:,.0f}"]
        for cost in costs
    ]  # fmt: skip
    print_table("OpenStreetMap", ["copies", "MB", "roads", "seconds", "MiB"], rows)
    print(f"A gigabyte: {whole['minutes']:.0f} minutes, {whole['gib']:.1f} GiB.")
    if not (options.no_save or options.quick):
        keep({"osm": {"sizes": [vars(cost) for cost in costs], "gigabyte": whole}})


def measure(extract: Path, copies: Sequence[int]) -> list[Cost]:
    """The cost of each size; the first run, which compiles and reads files anew, is not counted."""
    costs = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(*_converting(extract, folder / "first"))
        layout = _Layout.of(folder / "first")
        for count in copies:
            pbf = folder / f"{count}.osm.pbf"
            _lay_side_by_side(extract, pbf, count, layout)
            cost = run(*_converting(pbf, folder / f"city{count}"))
            with (folder / f"city{count}" / "roadmap.geo").open() as lines:
                roads = sum(1 for _ in lines) - 1
            costs.append(Cost(count, pbf.stat().st_size / 1e6, roads, cost.seconds, cost.peak_mib))
    return costs


def _converting(pbf: Path, out: Path) -> list[str]:
    return ["data.osm", "--pbf", str(pbf), "--out", str(out)]


def of_a_gigabyte(costs: Sequence[Cost]) -> dict[str, float]:
    """By the megabyte between the two largest sizes: what is fixed does not count, growth does."""
    small, large = costs[-2], costs[-1]
    more_mb = large.file_mb - small.file_mb
    ahead_mb = GIGABYTE_MB - large.file_mb
    seconds = large.seconds + ahead_mb * (large.seconds - small.seconds) / more_mb
    mib = large.peak_mib + ahead_mb * max(0.0, large.peak_mib - small.peak_mib) / more_mb
    return {"minutes": round(seconds / 60, 1), "gib": round(mib / 1024, 2)}


@dataclass(frozen=True)
class _Layout:
    """How copies of an extract are laid side by side."""

    joined_at: int  # a node of the network that is kept
    step: float  # degrees from one to the next

    @classmethod
    def of(cls, dataset: Path) -> _Layout:
        """For the extract that the dataset was made of."""
        ends = (int(node) for _, (node,) in read_columns(dataset / "roadmap.geo", ["u"], []))
        node = next(end for end in ends if end > 0)  # those below were made up
        lon = read_roads(dataset / "roadmap.geo").vertex_lon
        return cls(node, 1.5 * float(np.ptp(lon)))


def _lay_side_by_side(extract: Path, out: Path, copies: int, layout: _Layout) -> None:
    """Writes so many copies, one east of the other, with numbers of their own."""
    import osmium

    kinds = osmium.osm
    ways = 0
    with osmium.SimpleWriter(str(out), overwrite=True) as writer:
        for kind in (kinds.NODE, kinds.WAY, kinds.RELATION):
            for k in range(copies):
                for item in osmium.FileProcessor(str(extract), kind):
                    _write_copy(writer, item, k, layout.step)
                    ways = max(ways, item.id) if kind == kinds.WAY else ways
            for k in range(copies - 1 if kind == kinds.WAY else 0):
                way = kinds.mutable.Way(
                    id=ways + k + 1 + (copies - 1) * _IDS,
                    nodes=[layout.joined_at + (k + end) * _IDS for end in (0, 1)],
                    tags={"highway": "residential"},
                )
                writer.add_way(way)


def _write_copy(writer: Any, item: Any, number: int, step: float) -> None:
    more, new = number * _IDS, item.id + number * _IDS
    if item.is_node():
        lon = (item.lon + 180.0 + number * step) % 360.0 - 180.0
        writer.add_node(item.replace(id=new, location=(lon, item.lat)))
    elif item.is_way():
        writer.add_way(item.replace(id=new, nodes=[node.ref + more for node in item.nodes]))
    else:
        members = [(m.type, m.ref + more, m.role) for m in item.members]
        writer.add_relation(item.replace(id=new, members=members))


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError:
        numbers = []
    if len(numbers) < 2 or numbers[0] < 1:
        raise UserError(f"--copies is {text!r}; expected two numbers or more, as in 1,4,16.")
    return [int(number) for number in np.array(numbers)]


if __name__ == "__main__":
    run_main(main)  # type: ignore[arg-type]
