"""Drawn routes of a demo city, held against what its drivers do when they are sent out again.

    python -m bench.route_draws --data_dir data/demo --models A/best.pth B/best.pth [--quick]
    python -m bench.route_draws --page        only the table of docs/generation.md

Every pair of roads of a sample of test trips is driven many times: by the city's drivers (the real
side), by them once more (the bound), and by each student with each search. A search that always
returns the same trip is asked once a pair. Figures are means over the students; those of speed are
of a processor's core, and of somebody who asks for a single trip.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench._common import RESULTS, parser, print_table, save
from bench._pages import fill
from bench.headlines import MACHINE
from config import Config
from config.generation import PairSettings, SearchSettings
from data.demo_city.oracle import DemoCityOracle
from data.demo_city.settings import MANIFEST_NAME, DemoCitySettings
from data.road_network import RoadNetwork
from metrics.distributions import bin_edges, bin_index, jensen_shannon
from metrics.local import measure_local
from metrics.measures import QUANTITIES
from metrics.od import OdGrid, pair_trips
from metrics.route_choice import route_choice
from metrics.trips import Trips
from pipeline.detour_costs import end_to_end
from report.tables import markdown_table
from runtime.errors import UserError, run_main
from runtime.files import read_json
from search.request import GenerationRequest
from search.searches import label_of
from search.session import Session
from search.trips import GeneratedTrip

CELL_DEGREES = 0.001
PAGE = RESULTS.parent / "generation.md"
PER_PAIR = 20
KEPT = (5, 20)  # of the likeliest routes of a pair, among which trips are drawn
DRAWS_TO_KEEP_FROM = 10  # for each trip asked for
DETOUR_COST, DELAY_COST = 2.0, 1.0  # found on the second demo city


def _directed(search: SearchSettings) -> SearchSettings:
    return replace(search, detour_cost=DETOUR_COST, delay_cost=DELAY_COST)


SEARCHES = [
    SearchSettings("astar"),
    _directed(SearchSettings("astar")),
    SearchSettings("astar", costs="fitted"),
    SearchSettings("beam", 4),
    SearchSettings("beam", 16),
    *(
        SearchSettings("sample", width, temperature=temperature)
        for width in (1, 4, None)
        for temperature in (1.0, 0.7, 0.5, 0.25)
    ),
    *(_directed(SearchSettings("sample", temperature=t)) for t in (1.0, 0.7, 0.5)),
    *(SearchSettings("sample", temperature=t, costs="fitted") for t in (1.0, 0.7, 0.5)),
]
COLUMNS = {
    "route_divergence": ("route choice, nats", "{:.3f}"),
    "routes": ("routes a pair", "{:.1f}"),
    "distance_jsd": ("distance JSD", "{:.4f}"),
    "hausdorff_km": ("Hausdorff, km", "{:.3f}"),
    "dtw_km": ("DTW, km", "{:.2f}"),
    "roads": ("roads", "{:.1f}"),
    "reached": ("reached", "{:.1%}"),
    "trips_per_cpu_s": ("trips a core-second", "{:.0f}"),
    "median_s": ("alone, median s", "{:.3f}"),
    "p95_s": ("alone, 95 % s", "{:.3f}"),
}
Row = dict[str, float]


@dataclass(frozen=True)
class Judge:
    """What the drivers do between the pairs, and how trips differ from it."""

    network: RoadNetwork
    real: Trips
    grid: OdGrid

    def measure(self, trips: Trips) -> Row:
        """The figures of trips between the same pairs, pair after pair."""
        choice = route_choice(self.real, trips, self.grid)
        assert choice is not None
        pairs = pair_trips(self.real, trips, self.grid)
        local = measure_local(self.real, trips, pairs, self.network)
        (distance,) = [each for each in QUANTITIES if each.name == "distance"]
        real, made = (distance.of(side, self.network).values for side in (self.real, trips))
        edges = bin_edges(real)
        counts = [np.bincount(bin_index(v, edges), minlength=len(edges) - 1) for v in (real, made)]
        return {
            "route_divergence": choice.divergence,
            "routes": choice.generated_routes,
            "distance_jsd": float(jensen_shannon(*counts)),
            "hausdorff_km": float(local.hausdorff_km.mean()),
            "dtw_km": float(local.dtw_km.mean()),
            "roads": float(trips.lengths.mean()),
        }


def drive(session: Session, per_pair: int, search: SearchSettings) -> tuple[Trips, Row]:
    """`per_pair` trips of each pair by a search, and what they took."""
    times = per_pair if search.name == "sample" else 1
    other = session.asked(search, PairSettings(routes_per_od=times))
    list(other.generate(0, 2))
    start = time.process_time()
    found = list(other.generate(0, len(other.source)))
    seconds = time.process_time() - start
    whole = end_to_end(found)
    repeated = whole.select(np.repeat(np.arange(len(whole)), per_pair // times))
    reached = float(np.mean([trip.reached for trip in found]))
    alone = _seconds_alone(other)
    return repeated, {
        "reached": reached,
        "trips_per_cpu_s": len(found) / seconds,
        "median_s": float(np.median(alone)),
        "p95_s": float(np.quantile(alone, 0.95)),
    }


def routes_by_probability(session: Session, per_pair: int) -> list[list[GeneratedTrip]]:
    """The different routes among many fair draws of each pair, the likeliest first."""
    tried = DRAWS_TO_KEEP_FROM * per_pair
    search = SearchSettings("sample", temperature=1.0, times="expected")
    other = session.asked(search, PairSettings(routes_per_od=tried))
    routes: list[dict[bytes, GeneratedTrip]] = [{} for _ in range(len(other.source) // tried)]
    for number, trip in enumerate(other.generate(0, len(other.source))):
        if trip.reached:
            routes[number // tried][trip.road_ids.tobytes()] = trip
    return [sorted(known.values(), key=lambda trip: -trip.log_prob) for known in routes]


def redraw(routes: list[list[GeneratedTrip]], per_pair: int, kept: int) -> Trips:
    """`per_pair` trips of each pair, drawn by probability among its `kept` likeliest routes.

    What the k best arrivals of a search would be.
    """
    generator = np.random.default_rng(0)
    drawn: list[GeneratedTrip] = []
    for known in routes:
        best = known[:kept]
        weights = np.exp([trip.log_prob - best[0].log_prob for trip in best])
        chosen = generator.choice(len(best), per_pair, p=weights / weights.sum())
        drawn += [best[place] for place in chosen.tolist()]
    return end_to_end(drawn)


def _seconds_alone(session: Session) -> list[float]:
    """How long one takes who asks for a single trip, pair after pair."""
    found = []
    for number in range(0, len(session.source), session.request.pairs.routes_per_od):
        start = time.perf_counter()
        list(session.generate(number, number + 1))
        found.append(time.perf_counter() - start)
    return found


def drivers(data_dir: Path, session: Session, per_pair: int) -> tuple[Trips, Trips]:
    """`per_pair` real trips of each pair, and as many again."""
    manifest = read_json(data_dir / MANIFEST_NAME)
    oracle = DemoCityOracle(DemoCitySettings(**manifest["settings"]))
    blocks = list(session.source.requests(0, len(session.source)))
    origin, destination, start = (
        np.repeat(np.concatenate([getattr(block, name) for block in blocks]), 2 * per_pair)
        for name in ("origin", "destination", "start")
    )
    table = oracle.drive(origin, destination, start)
    if not table.length.all():
        raise UserError("Some pairs are too near for the drivers; take another seed.")
    inside = np.arange(table.roads.shape[1]) < table.length[:, None]
    times = (start[:, None] + table.elapsed_s).astype(np.int64)[inside]
    trips = Trips.from_lengths(table.roads[inside], times, table.length)
    second = np.arange(len(trips)) % (2 * per_pair) >= per_pair
    return trips.select(~second), trips.select(second)


def compare(data_dir: Path, models: Sequence[Path], pairs: int, per_pair: int) -> list[Row]:
    """A row for each search, the drivers last; means over the students."""
    found: dict[str, list[Row]] = {}
    for model in models:
        config = Config(dataset="demo", data_dir=str(data_dir))
        search = SearchSettings("astar", times="expected")
        request = GenerationRequest(config, model, pairs, search=search)
        session = Session(request, torch.device("cpu"))
        real, again = drivers(data_dir, session, per_pair)
        network = session.city.network
        judge = Judge(network, real, OdGrid.over(network, CELL_DEGREES))
        for each in SEARCHES:
            trips, cost = drive(session, per_pair, replace(each, times="expected"))
            name = _name_of(each)
            found.setdefault(name, []).append({**judge.measure(trips), **cost})
            print(name, found[name][-1], flush=True)
        routes = routes_by_probability(session, per_pair)
        for kept in KEPT:
            measured = judge.measure(redraw(routes, per_pair, kept))
            found.setdefault(f"{kept} likeliest, drawn among", []).append(measured)
        found.setdefault("drivers again", []).append(judge.measure(again))
    return [
        {"search": name, **{key: float(np.mean([row[key] for row in rows])) for key in rows[0]}}  # type: ignore[dict-item]
        for name, rows in found.items()
    ]


def _name_of(search: SearchSettings) -> str:
    """A search in the table's first column."""
    parts = [label_of(replace(search, costs="given"))]
    if search.name == "sample":
        parts.append(f"temperature {search.temperature:g}")
    if search.costs == "fitted":
        parts.append("fitted costs")
    if search.detour_cost:
        parts.append(f"detours cost {search.detour_cost:g} and {search.delay_cost:g}")
    return ", ".join(parts)


def _table(rows: Sequence[Any]) -> tuple[list[str], list[list[str]]]:
    """Header and cells."""
    header = ["search", *(title for title, _ in COLUMNS.values())]
    cells = [
        [row["search"], *(style.format(row[key]) if key in row else "–"
                          for key, (_, style) in COLUMNS.items())]
        for row in rows
    ]  # fmt: skip
    return header, cells


def write_page(page: Path = PAGE) -> None:
    """Writes the table of docs/generation.md from the recorded figures."""
    header, cells = _table(read_json(RESULTS / f"{MACHINE}.json")["route_draws"]["rows"])
    fill(page, {"route_draws": lambda: markdown_table(cells, header)})


def main() -> None:
    """Measures, prints and keeps the figures."""
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data_dir", type=Path, help="a demo city")
    arguments.add_argument("--models", type=Path, nargs="+", help="its students")
    arguments.add_argument("--pairs", type=int, default=100)
    arguments.add_argument("--page", action="store_true", help="only docs/generation.md anew")
    options = arguments.parse_args()
    if options.page:
        write_page()
        return
    if options.data_dir is None or not options.models:
        raise UserError("Give --data_dir and --models.")
    pairs, per_pair = (10, 10) if options.quick else (options.pairs, PER_PAIR)
    rows = compare(options.data_dir, options.models, pairs, per_pair)
    print_table("Drawn routes", *_table(rows))
    if not options.no_save:
        size = {"students": len(options.models), "pairs": pairs, "per_pair": per_pair}
        save("route_draws", {**size, "rows": rows})


if __name__ == "__main__":
    run_main(main)
