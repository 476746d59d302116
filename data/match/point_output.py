"""Each point's road and place on it, as one Parquet file, for those who want them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.match.results import PieceFile
from data.tables import join_parquet, writable_by_polars
from runtime.files import replace_atomically


def write_places(path: Path, parts: list[PieceFile], vehicles: list[str]) -> None:
    """Joins the pieces' points; `road` is −1 where a point is left out."""
    import polars as pl

    folder = parts[0].folder / "out-points"
    folder.mkdir(exist_ok=True)
    files = [folder / f"{part.piece:04d}.parquet" for part in parts]
    names = np.array(vehicles, dtype=object)
    for part, file in zip(parts, files, strict=True):
        with part.open() as arrays:
            columns = {
                name: arrays[f"point_{name}"]
                for name in ("time_s", "lon", "lat", "road", "along_m", "distance_m")
            }
            vehicle = pl.Series("vehicle", names[arrays["point_vehicle"]].tolist(), dtype=pl.String)
        frame = pl.DataFrame(columns).insert_column(0, vehicle)
        with writable_by_polars(file) as out:
            frame.write_parquet(out)
    with replace_atomically(path) as temporary:
        join_parquet(files, temporary)
