"""The report of a matching: a page and the same as JSON. How to judge it: docs/own-city.md.

The page needs nothing else: no script, no map from elsewhere; the streets are drawn into it.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.attribution import read_attribution
from data.match.network import METRES_PER_DEGREE, MatchNetwork
from data.match.piece_work import DISTANCE_EDGES_M
from data.match.results import LENGTH_EDGES_KM, Sample
from data.match.trip_output import REPORT_JSON, REPORT_PAGE
from runtime.files import atomic_write_bytes, write_json

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .15rem .8rem; }
td + td, th + th { text-align: right; font-variant-numeric: tabular-nums; }
tr { border-bottom: 1px solid #ddd; } svg { background: #fafafa; width: 100%; height: auto; }
.bar { fill: #4477aa; } .street { stroke: #ccc; fill: none; } .trip { fill: none; }
figcaption, footer { color: #666; }
"""
_COLOURS = ("#4477aa", "#ee6677", "#228833", "#aa7711", "#2299bb", "#aa3377")
_WIDTH = 900.0
_MOST_STREETS = 6000


def write_reports(
    folder: Path, report: dict[str, Any], sample: Sample, network: MatchNetwork
) -> None:
    """Writes `match_report.html` and `match_report.json`."""
    report = {**report, "attribution": read_attribution(folder)}
    atomic_write_bytes(folder / REPORT_PAGE, _page(report, sample, network).encode("utf-8"))
    write_json(folder / REPORT_JSON, report)


def _page(report: dict[str, Any], sample: Sample, network: MatchNetwork) -> str:
    counts: dict[str, int] = report["counts"]
    points = counts.get("points", 0)
    of_points = [
        (key.removeprefix("points: "), f"{value:,}", f"{100 * value / max(points, 1):.2f} %")
        for key, value in counts.items()
        if key.startswith("points: ")
    ]
    others = [(key, f"{value:,}") for key, value in counts.items() if not key.startswith("points")]
    facts = [
        ("points", f"{points:,}"),
        ("vehicles", f"{report['vehicles']:,}"),
        ("the receivers' error", f"{report['sigma_m']} m"),
        ("points a second", f"{report['points_per_second']:,}"),
        *((f"trips in {split}", f"{count:,}") for split, count in report["trips_in"].items()),
    ]
    distances = _bars(report["point_distance_histogram"], DISTANCE_EDGES_M, "m")
    lengths = _bars(report["trip_length_histogram"], LENGTH_EDGES_KM, "km")
    attribution = html.escape(report["attribution"])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Map matching</title>
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'">
<style>{_STYLE}</style></head><body>
<h1>Map matching</h1>
{_table(("", ""), facts)}
<h2>What became of the points</h2>
{_table(("", "points", "share"), of_points)}
<h2>Trips</h2>
{_table(("", ""), others)}
<h2>From the points to their roads</h2>
<figure>{distances}<figcaption>Matched points by their distance from the way.</figcaption></figure>
<h2>How long the trips are</h2>
<figure>{lengths}<figcaption>Trips by length.</figcaption></figure>
<h2>Some trips and their points</h2>
<figure>{_map(sample, network)}</figure>
<footer>{attribution}</footer>
</body></html>
"""


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header) if any(header) else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _bars(counts: list[int], edges: np.ndarray, unit: str) -> str:
    most, step = max(counts, default=0) or 1, _WIDTH / max(len(counts), 1)
    parts = []
    for number, count in enumerate(counts):
        height = 140.0 * count / most
        upper = edges[number + 1]
        last = number == len(counts) - 1
        label = f"{edges[number]:g}+ {unit}" if last else f"{edges[number]:g}–{upper:g} {unit}"
        parts.append(
            f'<rect class="bar" x="{number * step + 4:.1f}" y="{160 - height:.1f}" '
            f'width="{step - 8:.1f}" height="{height:.1f}"><title>{count:,}</title></rect>'
            f'<text x="{(number + 0.5) * step:.1f}" y="178" font-size="12" '
            f'text-anchor="middle">{html.escape(label)}</text>'
        )
    return f'<svg viewBox="0 0 {_WIDTH:g} 190" role="img">{"".join(parts)}</svg>'


def _map(sample: Sample, network: MatchNetwork) -> str:
    places = np.array([place for line in sample.lines for place in line]).reshape(-1, 2)
    if not len(places):
        return "<p>There are none.</p>"
    low, high = places.min(axis=0) - 0.003, places.max(axis=0) + 0.003
    stretch = float(np.cos(np.radians((low[1] + high[1]) / 2)))
    scale = _WIDTH / ((high[0] - low[0]) * stretch)
    height = (high[1] - low[1]) * scale

    def path(line: Any) -> str:
        return " ".join(
            f"{(lon - low[0]) * stretch * scale:.1f},{(high[1] - lat) * scale:.1f}"
            for lon, lat in line
        )

    parts = [f'<svg viewBox="0 0 {_WIDTH:g} {height:.0f}" role="img">']
    for street in _streets(network, low, high):
        parts.append(f'<polyline class="street" points="{path(street)}"/>')
    for number, (line, points) in enumerate(zip(sample.lines, sample.points)):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(
            f'<polyline class="trip" stroke="{colour}" stroke-width="2.5" points="{path(line)}"/>'
        )
        for place in points:
            x, _, y = path([place]).partition(",")
            parts.append(f'<circle cx="{x}" cy="{y}" r="2.2" fill="{colour}" opacity="0.7"/>')
    return "".join(parts) + "</svg>"


def _streets(network: MatchNetwork, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """The streets in view, the longest where there are too many; one of both directions."""
    roads = network.roads
    first = roads.vertex_offsets[:-1]
    lon, lat = roads.x[first] / METRES_PER_DEGREE, roads.y[first] / METRES_PER_DEGREE
    in_view = (lon > low[0]) & (lon < high[0]) & (lat > low[1]) & (lat < high[1])
    in_view &= (roads.twin < 0) | (roads.twin > np.arange(network.num_roads))
    shown = np.flatnonzero(in_view)
    shown = shown[np.argsort(-roads.length_m[shown], kind="stable")][:_MOST_STREETS]
    lines = []
    for road in shown.tolist():
        vertices = slice(roads.vertex_offsets[road], roads.vertex_offsets[road + 1])
        line = np.stack([roads.x[vertices], roads.y[vertices]], axis=1) / METRES_PER_DEGREE
        lines.append(line)
    return lines
