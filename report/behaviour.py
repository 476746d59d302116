"""How generated trips behave, as a section of the report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metrics.behaviour import Behaviour
from report.payload import Run
from report.sections import Section, Table
from report.tables import number

NOTE = (
    "Trips against what is usual in the training trips: how much longer than the shortest way, "
    "and how long and fast for their origin, destination and hour; 5 % of training trips lie "
    "beyond p95. Traffic compares how many trips enter each road with the training trips."
)


def behaviour_section(runs: Sequence[Run]) -> Section | None:
    """Do the trips behave? None where nothing is known of the usual."""
    tables = []
    for source in dict.fromkeys(run.od_source for run in runs):
        of_source = [run for run in runs if run.od_source == source]
        named = [(run.assessment.name, run.assessment.behaviour) for run in of_source]
        known = [(name, each) for name, each in named if each is not None]
        real = of_source[0].assessment.reference.behaviour
        if not known or real is None:
            continue
        both = [("real trips", real), *known]
        tables.append(Table(f"Behaviour, OD pairs of {source}", *_ratios(both)))
        tables.append(Table(f"Change of traffic by road class (%), {source}", *_classes(both)))
        tables.append(Table(f"Trips by what the usual rests on (%), {source}", *_answered(both)))
    return Section("behaviour", "Do the trips behave?", NOTE, tables) if tables else None


def _mean(values: object) -> str:
    known = np.asarray(values)[~np.isnan(np.asarray(values, dtype=np.float64))]
    return number(float(known.mean())) if len(known) else "–"


def _ratios(named: Sequence[tuple[str, Behaviour]]) -> tuple[list[str], list[list[str]]]:
    header = ["model", "detour (× shortest)", "beyond p95", "duration (× usual)", "beyond p95"]
    header += ["speed (× usual)", "beyond p95", "traffic correlation", "traffic error"]
    header += ["traffic covered", "OD covered"]
    rows = []
    for name, found in named:
        row = [name]
        for kind in ("detour", "duration", "speed"):
            row += [_mean(getattr(found.ratios, kind)), _mean(found.beyond[kind])]
        row += [number(found.traffic_correlation), number(found.traffic_error)]
        rows.append([*row, number(found.traffic_covered), number(found.od_covered)])
    return header, rows


def _classes(named: Sequence[tuple[str, Behaviour]]) -> tuple[list[str], list[list[str]]]:
    """Per road class: the training trips' traffic, and how far each model is from it."""
    header = ["road class", "roads", "usual (per 1,000 trips)", *(name for name, _ in named)]
    rows = []
    for i, usual in enumerate(named[0][1].classes):
        errors = [found.classes[i].relative_error for _, found in named]
        cells = ["–" if error is None else f"{100 * error:+.1f}" for error in errors]
        rows.append([usual.name, str(usual.roads), f"{usual.real:.0f}", *cells])
    return header, rows


def _answered(named: Sequence[tuple[str, Behaviour]]) -> tuple[list[str], list[list[str]]]:
    levels = list(named[0][1].answered)
    rows = [
        [name, *(f"{100 * found.answered[each]:.1f}" for each in levels)] for name, found in named
    ]
    return ["model", *levels], rows
