"""What can be chosen about matching, and the numbers of the model with their reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from data.match.arrays import Model
from runtime.errors import UserError

Split = Literal["time", "random", "vehicle"]
Loops = Literal["keep", "split", "drop"]


@dataclass(frozen=True)
class CleaningSettings:
    """What counts as an error of the receiver, a pause and the end of a trip."""

    max_speed: float = 60.0
    """Metres a second; what needs more is a jump."""
    max_gap_s: float = 300.0
    """Without a point for so long, a trip is over."""
    pause_s: float = 300.0
    """In one place for so long, a trip is over."""
    pause_radius_m: float = 50.0
    vacant: Literal["drop", "keep"] = "drop"
    """Points without passengers, where a column tells: left out, or trips of their own."""


@dataclass(frozen=True)
class MatchSettings:
    """How points become trips of a dataset."""

    cleaning: CleaningSettings = field(default_factory=CleaningSettings)
    sigma_m: float | None = None
    """The receiver's error; estimated from the points where None."""
    max_radius_m: float = 200.0
    min_roads: int = 2
    loops: Loops = "keep"
    split: Split = "time"
    shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    seed: int = 0
    timezone: str | None = None
    anonymise: bool = False
    keep_points: bool = False
    file_format: Literal["csv", "parquet"] = "csv"

    def check(self) -> None:
        """Raises `UserError` where a value makes no sense."""
        if self.sigma_m is not None and not 0.1 <= self.sigma_m <= 500:
            raise UserError(f"--sigma is {self.sigma_m}; a receiver errs by 0.1 to 500 metres.")
        if self.min_roads < 2:
            raise UserError(f"--min_roads is {self.min_roads}; a trip needs at least two roads.")
        if not 10 <= self.max_radius_m <= 2000:
            raise UserError(f"--radius is {self.max_radius_m}; 10 to 2000 metres are possible.")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1.0) > 1e-6:
            raise UserError(f"--shares {self.shares} are not three shares that add up to 1.")
        cleaning = self.cleaning
        if cleaning.max_speed <= 0 or cleaning.max_gap_s <= 0 or cleaning.pause_s <= 0:
            raise UserError("--max_speed, --max_gap and --pause must be positive.")


MIN_SIGMA_M, MAX_SIGMA_M = 6.0, 40.0
"""Maps are off by a few metres themselves; beyond forty nothing can be told apart."""

_LEAST_NOISE_M = 4.0
"""Of the receivers alone, whatever the map."""

TYPICAL_SIGMA_M = 10.0
"""Where there are too few points to estimate it from."""


def model_for(sigma_m: float, max_radius_m: float = 200.0) -> Model:
    """The model for receivers that err by `sigma_m`; the same for every interval of points."""
    sigma = min(max(sigma_m, MIN_SIGMA_M), MAX_SIGMA_M)
    return Model(
        sigma_m=sigma,
        radius_m=min(max(30.0, 4.0 * sigma), max_radius_m),
        max_radius_m=max_radius_m,
        # How far a way's length and the straight line differ: the receiver's error on both ends,
        # and what streets bend, which grows with the distance.
        beta_m=max(10.0, sigma),
        beta_per_m=0.12,
        slack_m=100.0,
        slack_per_m=1.0,
        # How much dearer than the nearest state a way may be and still be looked for.
        margin_cost=8.0,
        max_margin_m=400.0,
        # Between near points a turn is rarer than its detour tells. Over several blocks
        # ways of one length have different turns, and which was taken the turns do not tell.
        turns_within_m=150.0,
        max_speed=60.0,
        emission_cap=12.0,
        heading_cost=2.0,
        skip_cost=12.0,
        max_skipped=4,
        # One point may err however far the next is; several in a row only where that is near:
        # over a longer way they are the only ones that tell where it went.
        max_skip_m=1000.0,
        back_m=max(20.0, 3.0 * sigma),
        # A leg does not end at points this far off, nor on a road that is only just touched.
        end_m=5.0 * sigma,
        touch_m=min(0.75 * sigma, 10.0),
        uturn_cost=8.0,
        beam=30.0,
    )


def spacing_m(sigma_m: float) -> float:
    """How far points must be apart to tell of a movement rather than of the receiver's error."""
    return max(7.0, 1.5 * min(max(sigma_m, _LEAST_NOISE_M), MAX_SIGMA_M))


TURN_M, UTURN_M = 20.0, 60.0
"""Metres of detour that a right angle, and a turn back at a dead end, are worth."""
