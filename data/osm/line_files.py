"""Files of lines with columns: GeoJSON (also by lines, also gzipped), GeoParquet, and by pyogrio
whatever GDAL reads. Values become text; what they mean is `data.osm.lines`.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.osm.pbf import check_file
from data.osm.streets import BoolArray, FloatArray, IntArray
from data.tables import readable_by_polars
from runtime.errors import UserError, one_line
from runtime.logs import get_logger

logger = get_logger("osm")

_GEOJSON = (".geojson", ".json", ".geojsonl", ".geojsonseq")
_LINE_STRING, _LINEAR_RING = 1, 2
_WGS84_NAMES = ("4326", "CRS84", "WGS 84", "WGS84", "4258", "4269")


@dataclass
class LineTable:
    """L lines of a file's rows; a row of several parts has several lines."""

    row: IntArray  # [L] row of the file, from 0
    offsets: IntArray  # [L + 1]
    lon: FloatArray  # [V]
    lat: FloatArray  # [V]
    columns: dict[str, list[str]]  # values by row of the file

    def take(self, lines: IntArray, against: BoolArray) -> LineTable:
        """Some of the lines; those marked `against` turned round."""
        count = np.diff(self.offsets)[lines]
        offsets = np.concatenate([[0], np.cumsum(count)])
        place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count)
        first, last = self.offsets[:-1][lines], self.offsets[1:][lines] - 1
        vertex = np.where(
            np.repeat(against, count),
            np.repeat(last, count) - place,
            np.repeat(first, count) + place,
        )
        return LineTable(self.row[lines], offsets, self.lon[vertex], self.lat[vertex], self.columns)


def read_line_table(path: Path) -> LineTable:
    """The lines of a file, in degrees."""
    check_file(path)
    try:
        import shapely
    except ImportError as error:
        raise UserError(
            'Lines need the package shapely: pip install "hoser-distil[osm]".'
        ) from error
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_GEOJSON):
        geometries, columns = _read_geojson(path)
    elif name.endswith((".parquet", ".geoparquet")):
        geometries, columns = _read_parquet(path)
    else:
        geometries, columns = _read_by_gdal(path)
    shapes = np.array(geometries, dtype=object)
    parts, row = shapely.get_parts(shapes, return_index=True)
    is_line = np.isin(shapely.get_type_id(parts), (_LINE_STRING, _LINEAR_RING))
    is_line &= ~shapely.is_empty(parts)
    if not is_line.any():
        raise UserError(f"{path} has no lines ({len(shapes)} features of other kinds or none).")
    if not is_line.all():
        logger.info("%s: %d geometries are no lines.", path, int((~is_line).sum()))
    lines, row = parts[is_line], row[is_line]
    points = shapely.get_coordinates(lines)
    count = shapely.get_num_coordinates(lines)
    good = np.isfinite(points).all(axis=1)
    if (np.abs(points[good]) > [180.0, 90.0]).any():
        raise UserError(
            f"{path} has coordinates that are no [longitude, latitude] in degrees; bring it to "
            "EPSG:4326 first (ogr2ogr -t_srs EPSG:4326)."
        )
    return LineTable(
        row=row.astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(count)]).astype(np.int64),
        lon=np.where(good, points[:, 0], np.nan),
        lat=np.where(good, points[:, 1], np.nan),
        columns=columns,
    )


def _read_geojson(path: Path) -> tuple[list[Any], dict[str, list[str]]]:
    import shapely

    features = [each for each in _features(path) if isinstance(each, dict)]
    geometries, broken = [], 0
    for feature in features:
        try:
            geometry = feature.get("geometry", feature)  # a bare geometry is its own feature
            geometries.append(shapely.geometry.shape(geometry) if geometry else None)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            geometries.append(None)
            broken += 1
        except shapely.errors.ShapelyError:
            geometries.append(None)
            broken += 1
    if broken:
        logger.warning("%s: %d geometries are broken and left out.", path, broken)
    rows = [_properties(feature) for feature in features]
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return geometries, {name: [_text(row.get(name)) for row in rows] for name in names}


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    properties = feature.get("properties")
    return properties if isinstance(properties, dict) else {}


def _features(path: Path) -> Iterable[Any]:
    try:
        content = path.read_bytes()
        if path.name.lower().endswith(".gz"):
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {one_line(error)}.") from error
    try:
        try:
            parsed = json.loads(text)
        except ValueError:  # a feature a line
            lines = [line.strip("\x1e \r") for line in text.split("\n")]
            parsed = {"features": [json.loads(line) for line in lines if line]}
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid GeoJSON: {one_line(error)[:200]}.") from error
    for name in ("features", "geometries"):
        if isinstance(parsed, dict) and isinstance(parsed.get(name), list):
            return list(parsed[name])
    return [parsed]


def _read_parquet(path: Path) -> tuple[list[Any], dict[str, list[str]]]:
    import polars as pl
    import shapely

    try:
        metadata = json.loads(pl.read_parquet_metadata(readable_by_polars(path)).get("geo", "{}"))
        frame = pl.read_parquet(readable_by_polars(path), glob=False)
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(f"{path} is no readable Parquet file ({one_line(error)[:200]}).") from error
    metadata = metadata if isinstance(metadata, dict) else {}
    name = metadata.get("primary_column", "geometry")
    if name not in frame.columns or frame[name].dtype != pl.Binary:
        raise UserError(f"{path} is no GeoParquet: it has no column {name!r} of WKB geometries.")
    described = metadata.get("columns", {})
    described = described.get(name, {}) if isinstance(described, dict) else {}
    if isinstance(described, dict):
        _check_reference(path, described.get("crs"))
    geometries = shapely.from_wkb(
        np.array(frame[name].to_list(), dtype=object), on_invalid="ignore"
    )
    others = [each for each in frame.columns if each != name]
    return list(geometries), {
        each: [_text(value) for value in frame[each].to_list()] for each in others
    }


def _read_by_gdal(path: Path) -> tuple[list[Any], dict[str, list[str]]]:
    import shapely

    try:
        import pyogrio
    except ImportError as error:
        raise UserError(
            f"{path.name} is no GeoJSON or GeoParquet; for shapefiles and other formats: pip "
            'install "hoser-distil[shapefile]".'
        ) from error
    try:
        meta, _, wkb, values = pyogrio.raw.read(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"{path} is no readable file of lines ({one_line(error)[:200]})."
        ) from error
    if wkb is None:
        raise UserError(f"{path} has no geometries.")
    _check_reference(path, meta.get("crs"))
    geometries = shapely.from_wkb(wkb, on_invalid="ignore")
    return list(geometries), {
        str(name): [_text(value) for value in column.tolist()]
        for name, column in zip(meta["fields"], values)
    }


def _check_reference(path: Path, reference: Any) -> None:
    """Refuses coordinates that are said not to be degrees."""
    text = json.dumps(reference) if reference is not None else ""
    if text and not any(name in text for name in _WGS84_NAMES):
        raise UserError(
            f"{path} has its coordinates in {one_line(text)[:80]}; bring it to EPSG:4326 first "
            "(ogr2ogr -t_srs EPSG:4326)."
        )


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
