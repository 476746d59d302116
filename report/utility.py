"""What generated trips are good for, as a section."""

from __future__ import annotations

from collections.abc import Mapping

from metrics.utility import MEASURED, Utility
from report.sections import Section, Table
from report.tables import number

NOTE = (
    "A student trained on generated trips and one trained on as many real ones, both tested on "
    "real test trips. The ratio is the utility: 1 means that generated trips teach as much."
)


def utility_section(found: Mapping[str, Utility]) -> Section:
    """Are the trips of use? By the name of the generated file."""
    header = ["trained on", "trips", *(title for title, _ in MEASURED.values())]
    header += [f"utility: {title}" for title, _ in MEASURED.values()]
    rows: list[list[str]] = []
    for name, utility in found.items():
        labels = {"real": "real trips", "synthetic": name, "mixture": f"half real, half {name}"}
        for arm, label in labels.items():
            values = [number(utility.on_real[arm][each]) for each in MEASURED]
            ratios = [number(utility.ratio(arm, each)) for each in MEASURED]
            row = [label, str(utility.num_trips), *values, *ratios]
            if arm != "real" or row not in rows:  # the same student beside all files of a size
                rows.append(row)
        reverse = [number(utility.real_on_synthetic[each]) for each in MEASURED]
        label = f"real trips, tested on {name}"
        rows.append([label, str(utility.num_trips), *reverse, *["–"] * len(MEASURED)])
    table = Table("Trained on generated trips, tested on real ones", header, rows)
    return Section("utility", "Are the trips of use?", NOTE, [table])
