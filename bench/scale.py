"""What a very large dataset would take on several machines, worked out from measured figures.

    python -m bench.scale [--trips 1e8] [--machines 10] [--page]

Nothing is run: it multiplies what the other benches have measured (`docs/benchmarks/*.json`) and
says which figure each number comes from. `--page` writes the table into `docs/distributed.md`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench._common import RESULTS, print_table
from bench._pages import fill
from report.tables import markdown_table
from runtime.errors import UserError, run_main
from runtime.files import read_json

PAGE = RESULTS.parent / "distributed.md"
MACHINE = "cpu-2cores"
BATCH_SIZE = 64
ROADS = 40_060  # Beijing's
STUDENT_BYTES = 4 * (1_820_000 + 64 * ROADS)  # parameters: the network's, and an embedding a road
ORDER_BYTES = 8  # a trip, for the order of an epoch
GIB = 2.0**30
HEADER = ["what", "on one machine", "on all", "from"]


@dataclass(frozen=True)
class Scale:
    """How many trips on how many machines."""

    trips: float
    machines: int

    def rows(self, measured: dict[str, Any]) -> list[list[str]]:
        """Memory, disk and time of every part."""
        data, train = measured["data"], measured["train"]
        roads = data["mean_roads_per_trip"]
        steps = self.trips / BATCH_SIZE
        positions = self.trips * (roads - 1)
        teacher = measured["teacher"]["cache_building"]["full history"]
        read = self.trips / data["csv_to_cache_trips_per_s"]
        live = train["ratio_distilled_live"] - 1
        return [
            self._size("trips as columns", self.trips * roads * data["bytes_per_road"], "data"),
            ["CSV to columns, once", _duration(read), "the same", "data"],
            self._size(
                "order of an epoch, in each process", self.trips * ORDER_BYTES, "8 B a trip"
            ),
            self._time(
                "an epoch without a teacher", steps / train["batches_per_s_vanilla"], "train"
            ),
            self._time(
                "… with a small teacher asked live",
                steps / train["batches_per_s_distilled_live"],
                f"train: {live:+.0%}",
            ),
            self._time(
                "answers of a large teacher (8 × 768)",
                positions / teacher["positions_per_second"],
                "teacher",
            ),
            self._size("… kept", positions * teacher["bytes_per_position"], "teacher"),
            self._time(
                "as many trips generated, beam of 4",
                self.trips / measured["generate"]["beam"]["trips_per_second"],
                "generate",
            ),
            self._time("and measured", self.trips / self._assessed(measured), "evaluate"),
        ]

    def _assessed(self, measured: dict[str, Any]) -> float:
        """Trips a second, from the file to all measures."""
        found = measured["evaluate"]
        return float(found["num_trips"] / (found["read_generated_s"] + found["assess_all_s"]))

    def _time(self, what: str, seconds: float, source: str) -> list[str]:
        return [what, _duration(seconds), _duration(seconds / self.machines), source]

    def _size(self, what: str, size: float, source: str) -> list[str]:
        return [what, f"{size / GIB:,.1f} GiB", "the same", source]


def gradient_seconds(machines: int, gigabits_per_s: float) -> float:
    """A sum of all gradients around a ring: nearly twice the student's bytes, sent and received."""
    sent = 2 * (machines - 1) / machines * STUDENT_BYTES
    return 8 * sent / (gigabits_per_s * 1e9)


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {name}"
    return f"{seconds:,.0f} s"


def _network_rows(machines: int, batches_per_s: float) -> list[list[str]]:
    rows = []
    for speed in (1, 10, 25):
        sent = gradient_seconds(machines, speed)
        rows.append([f"{speed} Gbit/s", f"{1000 * sent:.0f} ms"])
        for accumulated in (1, 8):
            step = accumulated / batches_per_s
            rows[-1].append(f"{sent / (step + sent):.0%}")
    return rows


def main() -> None:
    """Prints the table, or writes it into its page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--trips", type=float, default=1e8)
    parser.add_argument("--machines", type=int, default=10)
    parser.add_argument("--page", action="store_true", help="write docs/distributed.md")
    options = parser.parse_args()
    if options.machines < 1 or options.trips < 1:
        raise UserError("--trips and --machines must be at least 1.")
    measured = read_json(RESULTS / f"{MACHINE}.json")
    rows = Scale(options.trips, options.machines).rows(measured)
    network = _network_rows(options.machines, measured["train"]["batches_per_s_vanilla"])
    network_header = ["network", "a sum of gradients", "of a step of 64 trips", "of one of 512"]
    print_table(f"{options.trips:.0e} trips, {options.machines} machines", HEADER, rows)
    print_table(f"Gradients of a student of {ROADS:,} roads", network_header, network)
    if options.page:
        write_page(PAGE, rows, network, network_header)


def write_page(
    page: Path, rows: list[list[str]], network: list[list[str]], network_header: list[str]
) -> None:
    """Fills in the page's tables."""
    fill(
        page,
        {
            "scale": lambda: markdown_table(rows, HEADER),
            "network": lambda: markdown_table(network, network_header),
        },
    )
    print(f"Written into {page.name}.")


if __name__ == "__main__":
    run_main(main)
