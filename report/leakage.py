"""What generated trips give away of the training trips, as a section of the report."""

from __future__ import annotations

from collections.abc import Mapping

from metrics.leakage import Closeness, Leakage
from report.sections import Section, Table
from report.tables import number

NOTE = (
    "Copies and near copies (90 % of all roads shared) of training trips, beside held-out real "
    "trips, which are the yardstick: a city's usual routes repeat themselves. An AUC of 0.5 tells "
    "an attacker nothing of who was trained on, 1 everything."
)


def leakage_section(found: Mapping[str, Leakage]) -> Section:
    """Do the trips leak? By the name of model and OD source."""
    header = ["trips", "exact copies", "near copies", "median distance", "5th percentile"]
    header += ["closer AUC", "membership AUC (trips)", "membership AUC (likelihood)"]
    header += ["same OD", "same OD and start"]
    rows: list[list[str]] = []
    beside: int | None = None
    # Models that saw different numbers of trips have yardsticks of their own.
    for name, leak in sorted(found.items(), key=lambda item: item[1].num_training):
        if leak.num_training != beside:
            beside = leak.num_training
            label = f"held-out real trips, beside {beside:,} training trips"
            rows.append([label, *_closeness(leak.held_out), *["–"] * 5])
        rows.append(
            [
                name,
                *_closeness(leak.generated),
                number(leak.closer_auc),
                number(leak.membership_auc),
                number(leak.likelihood_auc),
                number(leak.same_od),
                number(leak.same_od_and_start),
            ]
        )
    table = Table("Distance to the closest training trip, and attacks", header, rows)
    return Section("privacy", "Do the trips leak?", NOTE, [table])


def _closeness(found: Closeness) -> list[str]:
    values = (found.exact_copies, found.near_copies, found.median_distance, found.fifth_percentile)
    return [number(value) for value in values]
