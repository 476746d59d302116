"""The part of the map that is wanted: a box or polygons in degrees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.osm.streets import BoolArray, FloatArray
from runtime.errors import UserError
from runtime.files import read_json


@dataclass(frozen=True)
class Box:
    """Degrees; where `west` is larger than `east` the box crosses the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    @classmethod
    def parse(cls, text: str) -> Box:
        """Reads `W,S,E,N`."""
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        good = len(numbers) == 4 and all(map(math.isfinite, numbers))
        if not good or max(abs(numbers[0]), abs(numbers[2])) > 180:
            raise UserError(f"--bbox is {text[:80]!r}; W,S,E,N in degrees is expected.")
        west, south, east, north = numbers
        if not -90 <= south < north <= 90 or west == east:
            raise UserError(
                f"--bbox {text[:80]} is empty; west, south, east, north in degrees is the order."
            )
        return cls(west, south, east, north)

    def contains(self, lon: FloatArray, lat: FloatArray) -> BoolArray:
        """Which points lie inside."""
        in_lat = (lat >= self.south) & (lat <= self.north)
        if self.west <= self.east:
            return in_lat & (lon >= self.west) & (lon <= self.east)
        return in_lat & ((lon >= self.west) | (lon <= self.east))


@dataclass(frozen=True)
class Polygons:
    """The polygons of a GeoJSON file, holes left out."""

    area: Any  # a prepared shapely geometry

    @classmethod
    def read(cls, path: Path) -> Polygons:
        """Reads all polygons of a GeoJSON file: bare, features, collections."""
        try:
            import shapely
        except ImportError as error:
            raise UserError(
                '--polygon needs the package shapely: pip install "hoser-distil[osm]".'
            ) from error
        geometries = list(_polygon_geometries(read_json(path), 0))
        try:
            shapes = [shapely.geometry.shape(geometry) for geometry in geometries]
            # A polygon that crosses itself is taken by the even-odd rule.
            area = shapely.union_all([shapely.make_valid(shape) for shape in shapes])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise UserError(f"{path} has a polygon that is not GeoJSON ({error}).") from error
        except shapely.errors.ShapelyError as error:
            raise UserError(f"{path} has a polygon that is not GeoJSON ({error}).") from error
        if area.is_empty or area.area == 0:
            raise UserError(f"{path} has no polygon; GeoJSON with one in degrees is expected.")
        shapely.prepare(area)
        return cls(area)

    def contains(self, lon: FloatArray, lat: FloatArray) -> BoolArray:
        """Which points lie inside."""
        import shapely

        known = np.isfinite(lon) & np.isfinite(lat)
        inside = np.zeros(len(lon), dtype=bool)
        inside[known] = shapely.contains_xy(self.area, lon[known], lat[known])
        return inside


Region = Box | Polygons


def _polygon_geometries(content: Any, depth: int) -> list[Any]:
    if not isinstance(content, dict) or depth > 20:
        return []
    if content.get("type") in ("Polygon", "MultiPolygon"):
        return [content]
    parts = [content.get("geometry")]
    for key in ("features", "geometries"):
        inner = content.get(key)
        parts += inner if isinstance(inner, list) else []
    return [found for part in parts for found in _polygon_geometries(part, depth + 1)]
