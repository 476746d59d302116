"""Which column of a table of points is which, and its values in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data.match.point_times import TimeRules, seconds_of
from runtime.errors import UserError

if TYPE_CHECKING:
    import polars as pl

ROLES = ("vehicle", "time", "lat", "lon", "occupied", "trip", "heading")
_NEEDED = ("time", "lat", "lon")
_NAMES = {
    "vehicle": (
        "vehicle", "vehicle_id", "vehicleid", "cab", "cab_id", "taxi", "taxi_id", "device",
        "device_id", "entity_id", "driver", "driver_id", "car", "car_id", "bus_id", "user_id", "id",
    ),
    "time": (
        "time", "timestamp", "datetime", "date_time", "gps_time", "time_s", "utc", "date", "t",
    ),
    "lat": ("lat", "latitude", "y"),
    "lon": ("lon", "lng", "long", "longitude", "x"),
    "occupied": ("occupied", "occupancy", "passenger", "hired", "loaded"),
    "trip": ("trip", "trip_id", "tripid", "traj_id", "trajectory_id", "order_id", "track"),
    "heading": ("heading", "bearing", "course", "azimuth"),
}  # fmt: skip
_OCCUPIED = ("true", "t", "yes", "y", "occupied", "hired")
_SAY_NOTHING = ("", "nan")


@dataclass(frozen=True)
class Columns:
    """The name of each role's column; roles without one are missing."""

    names: dict[str, str]

    @property
    def without_header(self) -> bool:
        """Whether columns are given by number, as of a CSV file without names."""
        return bool(self.names) and all(name.isdigit() for name in self.names.values())

    @classmethod
    def parse(cls, text: str | None) -> Columns:
        """`vehicle=cab,time=when`; of a CSV file without names `vehicle=1,time=2,lat=4,lon=3`."""
        names: dict[str, str] = {}
        for part in (text or "").split(","):
            role, equals, name = (piece.strip() for piece in part.partition("="))
            if not part.strip():
                continue
            if not equals or role not in ROLES or not name:
                raise UserError(
                    f"--columns has {part.strip()!r}; expected ROLE=NAME with one of the roles "
                    f"{', '.join(ROLES)}, separated by commas."
                )
            names[role] = name
        return cls(names)

    def find(self, found: list[str], where: str) -> dict[str, str]:
        """The column of each role that `found` has, given names before known ones."""
        by_lower = {name.strip().lower(): name for name in reversed(found)}
        chosen: dict[str, str] = {}
        for role in ROLES:
            if role in self.names:
                name = self.names[role]
                if self.without_header and 1 <= int(name) <= len(found):
                    name = found[int(name) - 1]
                if name not in found:
                    raise UserError(
                        f"{where} has no column {self.names[role]!r} for {role} (--columns); "
                        f"found {', '.join(found)[:200] or 'none'}."
                    )
                chosen[role] = name
                continue
            for known in _NAMES[role] if not self.without_header else ():
                if known in by_lower and by_lower[known] not in self.names.values():
                    chosen[role] = by_lower[known]
                    break
        missing = [role for role in _NEEDED if role not in chosen]
        if missing:
            raise UserError(
                f"{where} has no column for {', '.join(missing)}; found "
                f"{', '.join(found)[:200] or 'none'}. Name them with --columns "
                "vehicle=…,time=…,lat=…,lon=…"
            )
        return chosen


def uniform(
    frame: pl.LazyFrame, columns: Columns, where: str, vehicle: str, rules: TimeRules
) -> pl.LazyFrame:
    """The same points with columns of one form: see `data.match.records.POINT`.

    `vehicle` is the name of a table's only vehicle, where no column tells. What cannot be read
    becomes null.
    """
    import polars as pl

    schema = frame.collect_schema()
    chosen = columns.find(schema.names(), where)
    name = pl.col(chosen["vehicle"]).cast(pl.String) if "vehicle" in chosen else pl.lit(vehicle)
    trip = (
        pl.col(chosen["trip"]).cast(pl.String).hash(7).reinterpret(signed=True)
        if "trip" in chosen
        else pl.lit(0, dtype=pl.Int64)
    )
    return frame.select(
        name.fill_null("").alias("vehicle"),
        trip.fill_null(0).alias("trip"),
        _flag(chosen.get("occupied"), schema).alias("occupied"),
        seconds_of(pl.col(chosen["time"]), schema[chosen["time"]], where, rules).alias("time_s"),
        _number(chosen["lon"]).alias("lon"),
        _number(chosen["lat"]).alias("lat"),
        _number(chosen.get("heading")).cast(pl.Float32).alias("heading"),
    )


def _number(column: str | None) -> pl.Expr:
    import polars as pl

    if column is None:
        return pl.lit(None, dtype=pl.Float64)
    return pl.col(column).cast(pl.Float64, strict=False)


@dataclass(frozen=True)
class Unread:
    """A column with many values that are no times or places, and one of them."""

    where: str
    role: str
    column: str
    value: str | None

    def __str__(self) -> str:
        said = "nothing" if not self.value else repr(self.value[:80])
        return f"{self.where} has {said} for {self.role} in its column {self.column!r}"


def most_unread(
    frame: pl.LazyFrame, columns: Columns, where: str, rules: TimeRules, share: float
) -> Unread | None:
    """What tells least of time and place, if more than `share` of its values tell nothing."""
    import polars as pl

    schema = frame.collect_schema()
    chosen = columns.find(schema.names(), where)
    seconds = seconds_of(pl.col(chosen["time"]), schema[chosen["time"]], where, rules)
    lat, lon = _number(chosen["lat"]), _number(chosen["lon"])
    nowhere = (lat == 0.0) & (lon == 0.0)
    good = {
        "time": seconds.is_finite(),
        "lat": lat.is_between(-90.0, 90.0) & ~nowhere,
        "lon": lon.is_between(-180.0, 180.0) & ~nowhere,
    }
    bad = {role: ~is_good.fill_null(False) for role, is_good in good.items()}
    said = {role: pl.col(chosen[role]).cast(pl.String, strict=False) for role in bad}
    found = frame.select(
        pl.len().alias("rows"),
        *(is_bad.sum().alias(role) for role, is_bad in bad.items()),
        *(said[role].filter(is_bad).first().alias(f"{role} said") for role, is_bad in bad.items()),
    )
    row = found.collect(engine="streaming").row(0, named=True)
    worst = max(bad, key=lambda role: int(row[role]))
    if row[worst] <= share * row["rows"]:
        return None
    return Unread(where, worst, chosen[worst], row[f"{worst} said"])


def _flag(column: str | None, schema: pl.Schema) -> pl.Expr:
    """1 with passengers, 0 without, −1 where nothing tells; a number is that of passengers."""
    import polars as pl

    if column is None:
        return pl.lit(-1, dtype=pl.Int8)
    value, word = pl.col(column), pl.lit(None, dtype=pl.Boolean)
    if schema[column] == pl.String:
        value = value.str.strip_chars().str.to_lowercase()
        word = pl.when(~value.is_in(_SAY_NOTHING)).then(value.is_in(_OCCUPIED)).otherwise(word)
    number = value.cast(pl.Float64, strict=False).fill_nan(None)
    return pl.coalesce(number > 0, word).cast(pl.Int8).fill_null(-1)
