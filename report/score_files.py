"""Scores as files: a table of trips, the study's tables, and GeoJSON coloured by surprise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from critics.scoring.scores import ASPECTS, ModelScores
from critics.scoring.session import ScoreResult
from critics.scoring.statistics import RouteSurprise
from critics.scoring.study import Study
from data.tables import writable_by_polars
from metrics.trips import Trips
from report.geojson import Feature, trip_features, write_feature_collection
from runtime.errors import UserError
from runtime.files import replace_atomically, write_json
from runtime.inputs import KEY

# From usual to strange, as fill colours that also colour-blind eyes can order.
_COLOURS = ("#4575b4", "#91bfdb", "#fee090", "#fc8d59", "#d73027")
_LEVELS = (0.5, 0.8, 0.95, 0.99)
FORMATS = (".parquet", ".csv", ".json")


def trips_table(result: ScoreResult) -> pl.DataFrame:
    """One row a trip and model."""
    trips, around = result.trips, result.around
    common = {
        "trip": np.arange(len(trips)),
        "origin": trips.origin,
        "destination": trips.destination,
        "start": trips.start_time,
        "roads": trips.lengths,
        "decisions": around.decisions,
        "od_support": around.support,
    }
    if result.labels is not None:
        common["label"] = result.labels
    frames = [
        pl.DataFrame({**common, "model": [name] * len(trips), **_columns(result, scores)})
        for name, scores in result.models.items()
    ]
    return pl.concat(frames, how="diagonal")


def _columns(result: ScoreResult, scores: ModelScores) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    rate = result.request.alarm_rate
    for aspect in ASPECTS:
        found = scores.aspects.get(aspect)
        if found is not None:
            columns[f"{aspect}_percentile"] = found.percentile
            columns[f"{aspect}_level"] = found.level
            columns[f"{aspect}_alarm"] = found.alarms(rate)
    if scores.route is not None:
        columns["surprise"] = scores.route.total
        columns["surprise_per_decision"] = scores.route.per_decision
        columns["surprising_roads"] = _surprising_roads(result.trips, scores.route)
    return columns


def _surprising_roads(trips: Trips, route: RouteSurprise) -> list[str]:
    """The roads onto which each trip turned most surprisingly, the strangest first."""
    named = []
    for trip, row in enumerate(route.strangest):
        roads, _ = trips.trip(trip)
        named.append(" ".join(str(roads[place + 1]) for place in row if place >= 0))
    return named


def write_trips(result: ScoreResult, path: Path) -> None:
    """The table as Parquet, CSV or JSON, by the file's ending."""
    table = trips_table(result)
    if path.suffix not in FORMATS:
        raise UserError(f"{path} ends in {path.suffix!r}; allowed: {', '.join(FORMATS)}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary, writable_by_polars(temporary) as out:
        if path.suffix == ".parquet":
            table.write_parquet(out)
        elif path.suffix == ".csv":
            table.write_csv(out)
        else:
            table.write_json(out)


def write_geojson(result: ScoreResult, model: str, path: Path) -> int:
    """Every trip as a line coloured by its percentile; returns their number."""
    return write_feature_collection(path, _features(result, result.models[model]))


def _features(result: ScoreResult, scores: ModelScores) -> Iterator[Feature]:
    share = scores.overall.percentile
    for index, feature in enumerate(trip_features(result.trips, result.network, "scored")):
        properties = feature["properties"]
        properties["percentile"] = round(float(share[index]), 5)
        colour = _COLOURS[int(np.searchsorted(_LEVELS, share[index], side="right"))]
        properties |= {"stroke": colour, "stroke-width": 3}
        yield feature


def summary(result: ScoreResult) -> dict[str, Any]:
    """The study and the models' speed as plain data."""
    request = result.request
    return {
        "data_dir": str(request.data_dir),
        "network": result.network.content_hash,
        "trips": len(result.trips),
        "trips_hash": result.trips.content_hash,
        "alarm_rate": request.alarm_rate,
        "seed": request.seed,
        KEY: result.inputs.to_json(),
        "models": {
            name: {
                "positions": scores.positions,
                "positions_per_second": scores.positions / max(scores.seconds, 1e-9),
                "alarms": {
                    aspect: float(values.alarms(request.alarm_rate).mean())
                    for aspect, values in scores.aspects.items()
                },
            }
            for name, scores in result.models.items()
        },
        "studies": [_plain(asdict(study)) for study in result.studies],
    }


def _plain(value: Any) -> Any:
    """NaN, which JSON does not know, as null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def write_summary(result: ScoreResult, path: Path) -> None:
    """`summary` as JSON."""
    write_json(path, summary(result))


def study_rows(studies: list[Study], ods: str = "all") -> tuple[list[list[str]], list[str]]:
    """ROC-AUC of each model by kind, severity and aspect; rows and header."""
    chosen = [study for study in studies if study.ods == ods]
    names = list(dict.fromkeys(name for study in chosen for name in study.models))
    rows = []
    for study in chosen:
        severity = "" if study.severity is None else f"{study.severity:g}"
        row = [f"{study.kind} {severity}".strip(), study.aspect]
        for name in names:
            found = study.models.get(name)
            row.append("–" if found is None else f"{found.roc_auc:.3f} / {found.pr_auc:.3f}")
        rows.append(row)
    return rows, ["anomaly", "aspect", *names]
