"""Times of points, of whatever form, as seconds since 1970."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from runtime.errors import UserError

if TYPE_CHECKING:
    import polars as pl

SlashOrder = Literal["day", "month"]

_SECONDS_PER_UNIT = ((1e17, 1e-9), (1e14, 1e-6), (1e11, 1e-3))
_PATTERNS = (
    "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y/%m/%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%d.%m.%Y %H:%M:%S",
)  # fmt: skip
_ZONED_PATTERNS = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M%#z")
_DIGITS, _DIGITS_PATTERN = r"^\d{8} ?\d{6}$", "%Y%m%d%H%M%S"
_SLASH_DATES = {"day": "%d/%m/%Y", "month": "%m/%d/%Y"}
_SLASHES = r"^\s*(\d{1,2})/(\d{1,2})/\d{4}"
_UTC = r"(?i)\s*(z|utc|[+]00:?00)$"
_FIRST_YEAR = 1900
"""Two digits where four are expected are read as a year of the Romans."""


@dataclass(frozen=True)
class TimeRules:
    """What a text alone does not tell: the zone, and what comes first in `1/2/2024`."""

    zone: str = "UTC"
    slash_order: SlashOrder | None = None


def check_timezone(name: str | None, option: str) -> None:
    """Raises `UserError` for a time zone that is unknown."""
    if name is not None and not _is_timezone(name):
        raise UserError(
            f"{option} {name!r} is not a time zone; expected a name like America/Los_Angeles."
        )


def _is_timezone(name: str) -> bool:
    """Whether Python knows the zone and polars, too, which reckons with it."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, RecursionError):
        return False
    import polars as pl

    try:
        pl.Series([0]).cast(pl.Datetime("us", "UTC")).dt.convert_time_zone(name)
    except pl.exceptions.PolarsError:
        return False
    return True


@dataclass
class SlashEvidence:
    """Dates like `1/2/2024` that were seen: one at all, and those that tell what comes first."""

    any: str | None = None
    day: str | None = None
    month: str | None = None

    def see(self, frame: pl.LazyFrame, column: str) -> None:
        """Looks through a column of texts."""
        import polars as pl

        text = pl.col(column)
        first, second = (
            text.str.extract(_SLASHES, group).cast(pl.Int64, strict=False) for group in (1, 2)
        )
        seen = (
            frame.filter(text.str.contains("/", literal=True))
            .filter(text.str.contains(_SLASHES))
            .select(
                text.first().alias("any"),
                text.filter(first > 12).first().alias("day"),
                text.filter(second > 12).first().alias("month"),
            )
            .collect(engine="streaming")
            .row(0, named=True)
        )
        for name, value in seen.items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def order(self) -> SlashOrder | None:
        """What comes first, if there are such dates; `UserError` where that cannot be told."""
        if self.any is None:
            return None
        if (self.day is None) == (self.month is None):
            found = (
                f"neither number is above 12 in any time like {self.any.strip()!r}"
                if self.day is None
                else f"the times have {self.day.strip()!r} as well as {str(self.month).strip()!r}"
            )
            raise UserError(
                f"Whether day or month comes first cannot be told: {found}; write ISO dates, as "
                "2024-01-31 12:00:05."
            )
        return "day" if self.day is not None else "month"


def seconds_of(value: pl.Expr, kind: pl.DataType, where: str, rules: TimeRules) -> pl.Expr:
    """Seconds since 1970 in UTC, of a date, a text or a number of whatever unit."""
    import polars as pl

    if kind == pl.String:
        # By columns, not as an expression, so that each pattern is tried on what is still unread.
        return value.map_batches(
            lambda texts: _seconds_of_texts(texts.str.strip_chars(), rules),
            return_dtype=pl.Float64(),
            is_elementwise=True,
        )
    if isinstance(kind, pl.Datetime):
        if kind.time_zone is not None:
            return value.dt.epoch("us") / 1e6
        return _in_utc(value.dt.cast_time_unit("us"), rules.zone).dt.epoch("us") / 1e6
    if kind.is_numeric():
        return _scaled(value.cast(pl.Float64))
    raise UserError(
        f"{where}: the time column is of the type {kind}; expected dates, texts or seconds."
    )


def _seconds_of_texts(text: pl.Series, rules: TimeRules) -> pl.Series:
    import polars as pl

    plain = text.str.replace(_UTC, "")
    date = _dates(plain, _PATTERNS + _slash_patterns(rules.slash_order))
    # Of other numbers of digits, as of milliseconds, the pattern would make dates, too.
    of_digits = _where(plain, date.is_null() & plain.str.contains(_DIGITS))
    together = _dates(of_digits.str.replace(" ", "", literal=True), (_DIGITS_PATTERN,))
    date = date.zip_with(date.is_not_null(), together)
    others = _where(text, date.is_null()).str.replace(" ", "T", literal=True)
    zoned = _dates(others, _ZONED_PATTERNS, "UTC").dt.replace_time_zone(None)
    number = _where(text, date.is_null() & zoned.is_null()).cast(pl.Float64, strict=False)
    frame = pl.DataFrame({"text": text, "date": date, "zoned": zoned, "number": number})
    says_utc, local = pl.col("text").str.contains(_UTC), _in_utc(pl.col("date"), rules.zone)
    instant = pl.coalesce(pl.when(says_utc).then("date").otherwise(local), "zoned")
    seconds = pl.when(instant.dt.year() >= _FIRST_YEAR).then(instant.dt.epoch("us") / 1e6)
    return frame.select(pl.coalesce(seconds, _scaled(pl.col("number")))).to_series()


def _dates(text: pl.Series, patterns: Sequence[str], zone: str | None = None) -> pl.Series:
    """What the first pattern that fits makes of each text; null where none does."""
    import polars as pl

    dates = pl.repeat(None, len(text), dtype=pl.Datetime("us", zone), eager=True)
    for pattern in patterns:
        left = _where(text, dates.is_null())
        if left.null_count() < len(left):
            found = left.str.to_datetime(pattern, time_unit="us", strict=False, time_zone=zone)
            dates = dates.zip_with(dates.is_not_null(), found)
    return dates


def _where(values: pl.Series, condition: pl.Series) -> pl.Series:
    """The values where the condition holds, elsewhere null."""
    return values.zip_with(condition.fill_null(False), values.clear(len(values)))


def _slash_patterns(order: SlashOrder | None) -> tuple[str, ...]:
    if order is None:
        return ()
    return f"{_SLASH_DATES[order]} %H:%M:%S%.f", f"{_SLASH_DATES[order]} %H:%M"


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
