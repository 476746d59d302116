"""The files an evaluation leaves behind: `results.json` and `trajectory_metrics.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from metrics.assessment import Assessment
from metrics.measures import pair_values
from runtime.files import replace_atomically, write_json

PAIRS_PER_CHUNK = 4096


def write_results(assessment: Assessment, metadata: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Writes both files into `folder` and returns the content of `results.json`."""
    results = {**assessment.to_json(), "metadata": metadata}
    write_trajectory_metrics(assessment, folder / "trajectory_metrics.json")
    write_json(folder / "results.json", results)
    return results


def write_trajectory_metrics(assessment: Assessment, path: Path) -> None:
    """Writes a list with one entry per pair, one entry a line, a piece at a time.

    `real` and `generated` count the trips of their files from 0. `dtw_km` holds whichever DTW was
    computed; `fastdtw_km` repeats it under its published name where it is the approximate one.
    """
    pairs, local = assessment.pairs, assessment.local
    real = assessment.reference.trips
    measures = pair_values(local)
    if assessment.reference.settings.dtw == "fastdtw":
        measures = {**measures, "fastdtw_km": local.dtw_km}
    columns: dict[str, NDArray[Any]] = {
        "real": pairs.real,
        "generated": pairs.generated,
        "origin": real.origin[pairs.real],
        "destination": real.destination[pairs.real],
        "real_roads": real.lengths[pairs.real],
        "generated_roads": assessment.lengths[pairs.generated],
        **measures,
        "edr_edits": local.edits,
    }
    with replace_atomically(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for start in range(0, len(pairs), PAIRS_PER_CHUNK):
            chunk = [
                column[start : start + PAIRS_PER_CHUNK].tolist() for column in columns.values()
            ]
            rows = (dict(zip(columns, row, strict=True)) for row in zip(*chunk, strict=True))
            text = ",\n".join(json.dumps(row) for row in rows)
            file.write(("\n" if start == 0 else ",\n") + text)
        file.write("\n]\n" if len(pairs) else "]\n")
