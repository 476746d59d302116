"""Which column of a table of points is which, and its values in one form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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
    "heading": ("heading", "bearing", "course", "direction", "azimuth"),
}  # fmt: skip
_SECONDS_PER_UNIT = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))


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


def check_timezone(name: str | None, option: str) -> None:
    """Raises `UserError` for a time zone that is unknown."""
    if name is None:
        return
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, RecursionError) as error:
        raise UserError(
            f"{option} {name!r} is not a time zone; expected a name like America/Los_Angeles."
        ) from error


def uniform(
    frame: pl.LazyFrame, columns: Columns, where: str, vehicle: str, naive_timezone: str
) -> pl.LazyFrame:
    """The same points with columns of one form: see `data.match.records.POINT`.

    `vehicle` is the name of a table's only vehicle, where no column tells. What cannot be read
    becomes null. Times without a zone are in `naive_timezone`.
    """
    import polars as pl

    schema = frame.collect_schema()
    chosen = columns.find(schema.names(), where)
    number = {
        role: pl.col(chosen[role]).cast(pl.Float64, strict=False)
        for role in ("lat", "lon", "heading")
        if role in chosen
    }
    time = _seconds(pl.col(chosen["time"]), schema[chosen["time"]], where, naive_timezone)
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
        time.alias("time_s"),
        number["lon"].alias("lon"),
        number["lat"].alias("lat"),
        number.get("heading", pl.lit(None, dtype=pl.Float64)).cast(pl.Float32).alias("heading"),
    )


def _flag(column: str | None, schema: pl.Schema) -> pl.Expr:
    import polars as pl

    if column is None:
        return pl.lit(-1, dtype=pl.Int8)
    value = pl.col(column)
    if schema[column] == pl.String:
        text = value.str.strip_chars().str.to_lowercase()
        yes = text.is_in(["1", "true", "t", "yes", "y", "occupied", "hired"])
        flag = pl.when(text.is_null() | (text == "")).then(-1).otherwise(yes.cast(pl.Int8))
    else:
        flag = (value.cast(pl.Float64, strict=False) > 0).cast(pl.Int8).fill_null(-1)
    return flag.cast(pl.Int8)


def _seconds(value: pl.Expr, kind: pl.DataType, where: str, naive_timezone: str) -> pl.Expr:
    """Seconds since 1970 in UTC, of a date, a text or a number of whatever unit."""
    import polars as pl

    if kind == pl.String:
        number = value.str.strip_chars().cast(pl.Float64, strict=False)
        text = value.str.strip_chars().str.replace(r"(?i)z$|[+]00:?00$", "")
        with_t = value.str.strip_chars().str.replace(" ", "T", literal=True)
        zoned = with_t.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", strict=False, time_zone="UTC")
        date = pl.coalesce(
            text.str.to_datetime(pattern, time_unit="us", strict=False)
            for pattern in (
                "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y/%m/%d %H:%M:%S%.f",
                "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S", "%m/%d/%Y %H:%M:%S",
                "%Y%m%d%H%M%S", "%Y%m%d %H%M%S",
            )
        )  # fmt: skip
        says_utc = value.str.contains(r"(?i)z$|[+]00:?00$")
        local = _in_utc(date, naive_timezone)
        instant = pl.when(says_utc).then(date).otherwise(local)
        from_text = pl.coalesce(instant, zoned.dt.replace_time_zone(None))
        epoch = pl.when(from_text.is_null()).then(_scaled(number))
        return pl.coalesce(from_text.dt.epoch("us") / 1e6, epoch)
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is not None:
            return value.dt.epoch("us") / 1e6
        return _in_utc(value.dt.cast_time_unit("us"), naive_timezone).dt.epoch("us") / 1e6
    if kind.is_numeric():
        return _scaled(value.cast(pl.Float64))
    raise UserError(
        f"{where}: the time column is of the type {kind}; expected dates, texts or seconds."
    )


def _in_utc(naive: pl.Expr, timezone: str) -> pl.Expr:
    if timezone == "UTC":
        return naive
    zoned = naive.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return zoned.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _scaled(number: pl.Expr) -> pl.Expr:
    """Seconds of a number that counts seconds, milli-, micro- or nanoseconds, by its size."""
    import polars as pl

    seconds = number
    for least, factor in reversed(_SECONDS_PER_UNIT):
        seconds = pl.when(number.abs() >= least).then(number * factor).otherwise(seconds)
    return pl.when(seconds.is_finite() & (seconds.abs() < 1e11)).then(seconds)
