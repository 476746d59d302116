"""Map matching on tracks whose true ways are known (Kubička et al. 2015), as they are and thinned.

A folder per track: `*.track`, `*.nodes`, `*.arcs`, `*.route`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.match.arrays import Model
from data.match.cleaning_kernels import thin_trips
from data.match.matcher import Matcher, TripPoints, estimate_sigma_m
from data.match.network import MatchNetwork
from data.match.settings import model_for, spacing_m
from data.roadmap_files import RoadTable
from runtime.errors import UserError

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

INTERVALS_S = (1, 15, 30, 60, 120)
_KMH = 50.0


@dataclass(frozen=True)
class Track:
    """A recorded drive, the arcs it truly took, and the network."""

    name: str
    lon: FloatArray
    lat: FloatArray
    time_s: FloatArray
    route: IntArray
    network: MatchNetwork


def read_track(folder: Path) -> Track:
    """Reads a track's folder; every arc is a road."""
    name = folder.name
    node = np.loadtxt(folder / f"{name}.nodes", usecols=(0, 1), ndmin=2)
    arc = np.loadtxt(folder / f"{name}.arcs", usecols=(0, 1), dtype=np.int64, ndmin=2)
    track = np.loadtxt(folder / f"{name}.track", usecols=(0, 1, 2), ndmin=2)
    route = np.loadtxt(folder / f"{name}.route", dtype=np.int64, ndmin=1)
    table = RoadTable(
        vertex_offsets=2 * np.arange(len(arc) + 1, dtype=np.int64),
        vertex_lon=node[arc.ravel(), 0],
        vertex_lat=node[arc.ravel(), 1],
        highway=[""] * len(arc),
        length_m=np.zeros(len(arc)),
    )
    origin, target = _turns(arc, len(node))
    network = MatchNetwork.build(table, origin, target, np.full(len(arc), _KMH))
    return Track(name, track[:, 0], track[:, 1], track[:, 2], route, network)


def _turns(arc: IntArray, num_nodes: int) -> tuple[IntArray, IntArray]:
    """Every arc onto those that leave its end; back to where it came from at dead ends only."""
    leaving = np.argsort(arc[:, 0], kind="stable")
    first = np.concatenate([[0], np.cumsum(np.bincount(arc[:, 0], minlength=num_nodes))])
    counts = np.diff(first)[arc[:, 1]]
    origin = np.repeat(np.arange(len(arc)), counts)
    within = np.arange(len(origin)) - np.repeat(np.cumsum(counts) - counts, counts)
    target = leaving[np.repeat(first[arc[:, 1]], counts) + within]
    is_return = arc[target, 1] == arc[origin, 0]
    ways_on = np.bincount(origin, ~is_return, minlength=len(arc))
    kept = ~is_return | (ways_on[origin] == 0)
    return origin[kept], target[kept]


def match_track(track: Track, interval_s: float, model: Model | None = None) -> IntArray:
    """The arcs of a track thinned to an interval, in order."""
    chosen = _thinned(track.time_s, interval_s)
    lon, lat, time_s = track.lon[chosen], track.lat[chosen], track.time_s[chosen]
    moving = _apart(lon, lat, time_s, 10.0)
    sigma = estimate_sigma_m(track.network, lon[moving], lat[moving])
    kept = _apart(lon, lat, time_s, spacing_m(sigma))
    points = TripPoints(
        offsets=np.array([0, int(kept.sum())]),
        lon=lon[kept],
        lat=lat[kept],
        arrive_s=time_s[kept],
        leave_s=time_s[kept],
        heading=np.full(int(kept.sum()), np.nan, dtype=np.float32),
    )
    matcher = Matcher(track.network, model or model_for(sigma))
    return matcher.match(points).roads.astype(np.int64)


def _thinned(time_s: FloatArray, interval_s: float) -> IntArray:
    """The first point, those at least the interval after the last one taken, and the last."""
    taken = [0]
    for i in range(1, len(time_s)):
        if time_s[i] >= time_s[taken[-1]] + interval_s - 0.01:
            taken.append(i)
    if taken[-1] != len(time_s) - 1 and interval_s > 1:
        taken.append(len(time_s) - 1)
    return np.array(taken if interval_s > 1 else range(len(time_s)), dtype=np.int64)


def _apart(
    lon: FloatArray, lat: FloatArray, time_s: FloatArray, spacing: float
) -> NDArray[np.bool_]:
    kept = np.zeros(len(lon), dtype=np.bool_)
    thin_trips(np.array([0, len(lon)]), time_s, lon, lat, spacing, kept, time_s.copy())
    return kept


def score(track: Track, matched: IntArray) -> tuple[float, float]:
    """Length-weighted recall and precision of a matched way."""
    length = track.network.roads.length_m
    found, true = np.isin(track.route, matched), np.isin(matched, track.route)
    recall = length[track.route][found].sum() / max(length[track.route].sum(), 1e-9)
    precision = length[matched][true].sum() / max(length[matched].sum(), 1e-9)
    return float(recall), float(precision)


def bench_tracks(folder: Path) -> dict[str, Any]:
    """Mean recall and precision of all tracks, by interval; and each track's."""
    tracks = sorted(path for path in folder.iterdir() if (path / f"{path.name}.route").exists())
    if not tracks:
        raise UserError(f"{folder} has no tracks; expected folders NAME with NAME.track and so on.")
    scores: dict[int, dict[str, tuple[float, float]]] = {interval: {} for interval in INTERVALS_S}
    started = time.perf_counter()
    for path in tracks:
        track = read_track(path)
        for interval in INTERVALS_S:
            scores[interval][track.name] = score(track, match_track(track, interval))
    summary = {}
    for interval, of_track in scores.items():
        recall, precision = np.array(list(of_track.values())).mean(axis=0).round(4).tolist()
        summary[f"{interval} s"] = {"recall": recall, "precision": precision}
    return {
        "tracks": len(tracks),
        "seconds": round(time.perf_counter() - started, 1),
        "mean": summary,
        "by_track": {
            f"{interval} s": {name: [round(v, 4) for v in pair] for name, pair in of.items()}
            for interval, of in scores.items()
        },
    }
