"""The page of a scoring: the strangest trips on the map, and how well anomalies are found.

One HTML file that needs nothing else, made like the report of an evaluation (`report.document`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from critics.scoring.expected import expected_routes
from critics.scoring.scores import ModelScores
from critics.scoring.session import ScoreResult
from critics.scoring.trips import position_offsets
from report.document import render
from report.payload import network_payload, trip_payload
from report.score_files import study_rows
from runtime.files import atomic_write_bytes
from runtime.logs import get_logger

logger = get_logger("scores")

TRIPS_SHOWN = 100  # of each model
SCRIPTS = ["dom.js", "map.js", "scores.js"]
TITLE = "Is this trip normal?"


def write_scores_page(result: ScoreResult, path: Path) -> None:
    """Writes the page; with a student among the models, it shows the ways to be expected."""
    page = render(TITLE, _payload(result), SCRIPTS)
    atomic_write_bytes(path, page.encode())
    logger.info("The page of scores is %s (%.1f MB).", path, len(page) / 1e6)


def strangest(result: ScoreResult, count: int = TRIPS_SHOWN) -> dict[str, list[int]]:
    """The trips that each model finds strangest, in falling order."""
    return {
        name: np.argsort(-scores.overall.level, kind="stable")[:count].tolist()
        for name, scores in result.models.items()
    }


def _payload(result: ScoreResult) -> dict[str, Any]:
    chosen = strangest(result)
    shown = sorted({trip for trips in chosen.values() for trip in trips})
    expected: dict[int, list[int]] = {}
    if result.student is not None:
        expected = expected_routes(result.student, result.trips, shown)
    place = {trip: number for number, trip in enumerate(shown)}
    trips = [trip_payload(result.trips, trip) for trip in shown]
    for trip, number in place.items():
        if trip in expected:
            trips[number]["expected"] = expected[trip]
    tables = [(ods, *study_rows(result.studies, ods)) for ods in ("all", "seen", "unseen")]
    return {
        "title": TITLE,
        "network": network_payload(result.network),
        "num_trips": len(result.trips),
        "alarm_rate": result.request.alarm_rate,
        "trips": trips,
        "runs": [
            {
                "model": name,
                "trips": _scored_trips(result, scores, chosen[name], place),
            }
            for name, scores in result.models.items()
        ],
        "study": [
            {"title": f"OD pairs: {ods}", "header": header, "rows": rows}
            for ods, rows, header in tables
            if rows
        ],
    }


def _scored_trips(
    result: ScoreResult, scores: ModelScores, chosen: Sequence[int], place: Mapping[int, int]
) -> list[dict[str, Any]]:
    """What one model says of the trips that it finds strangest."""
    found = [_scored(result, scores, trip, place[trip]) for trip in chosen]
    if scores.judge is not None:
        shown = result.trips.select(np.asarray(chosen, dtype=np.int64))
        along, offsets = scores.judge.surprises(shown).route, position_offsets(shown)
        for number, trip in enumerate(found):
            trip["surprise"] = np.round(along[offsets[number] : offsets[number + 1]], 3).tolist()
    return found


def _scored(result: ScoreResult, scores: ModelScores, trip: int, place: int) -> dict[str, Any]:
    return {
        "trip": place,
        "trip_number": trip,
        "percentile": float(scores.overall.percentile[trip]),
        "percentiles": {
            aspect: float(values.percentile[trip]) for aspect, values in scores.aspects.items()
        },
        "alarm": bool(scores.overall.alarms(result.request.alarm_rate)[trip]),
        "label": None if result.labels is None else str(result.labels[trip]),
    }
