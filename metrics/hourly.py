"""Whether trips take as long at each hour of the day as real ones do, not only over all hours.

Hours with few trips are left out; the bins of an hour are the deciles of its real values, since
some dozens of trips would leave most of a hundred bins empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.clock import SECONDS_PER_HOUR
from metrics.distributions import Values, bin_index, jensen_shannon
from metrics.floor import SampleSizes, sampling_floor
from metrics.trips import Trips

MIN_TRIPS = 30
_BINS = 10
_HOURS = 24  # of any day


@dataclass(frozen=True)
class HourlyDivergence:
    """Means over the hours, weighted by their real trips."""

    divergence: float  # Jensen-Shannon, nats
    floor: float  # what two samples of the real trips differ by


def hourly_divergence(
    real: Values, real_trips: Trips, generated: Values, generated_trips: Trips
) -> HourlyDivergence | None:
    """How far generated values are from the real ones of the same hour; None if no hour has enough.

    Each trip has one value at most.
    """
    rng = np.random.default_rng(0)
    real_hour, generated_hour = _hours(real, real_trips), _hours(generated, generated_trips)
    found, weights = [], []
    for hour in range(_HOURS):
        here, there = real.values[real_hour == hour], generated.values[generated_hour == hour]
        if min(len(here), len(there)) < MIN_TRIPS:
            continue
        inner = np.unique(np.quantile(here, np.arange(1, _BINS) / _BINS))
        edges = np.concatenate([[-np.inf], inner, [np.inf]])
        counts = [np.bincount(bin_index(v, edges), minlength=len(inner) + 1) for v in (here, there)]
        floor = sampling_floor(counts[0], SampleSizes(len(here), len(there)), rng)
        found.append((float(jensen_shannon(counts[0], counts[1])), floor))
        weights.append(len(here))
    if not found:
        return None
    return HourlyDivergence(*(float(v) for v in np.average(found, axis=0, weights=weights)))


def _hours(values: Values, trips: Trips) -> NDArray[np.int64]:
    return trips.times[trips.offsets[:-1]][values.unit] // SECONDS_PER_HOUR % _HOURS
