"""Whether trips take as long at each hour of the day as real ones do, not only over all hours.

Hours with few trips are left out; the bins of an hour are the deciles of its real values, since
some dozens of trips would leave most of a hundred bins empty.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metrics.distributions import Values, bin_index, jensen_shannon
from metrics.trips import Trips

MIN_TRIPS = 30
_BINS = 10
_SECONDS_AN_HOUR, _HOURS = 3600, 24


def hourly_divergence(
    real: Values, real_trips: Trips, generated: Values, generated_trips: Trips
) -> float | None:
    """The mean over hours of the Jensen-Shannon divergence, weighted by real trips."""
    real_hour, generated_hour = _hours(real, real_trips), _hours(generated, generated_trips)
    found, weights = [], []
    for hour in range(_HOURS):
        here, there = real.values[real_hour == hour], generated.values[generated_hour == hour]
        if min(len(here), len(there)) < MIN_TRIPS:
            continue
        inner = np.unique(np.quantile(here, np.arange(1, _BINS) / _BINS))
        edges = np.concatenate([[-np.inf], inner, [np.inf]])
        counts = [np.bincount(bin_index(v, edges), minlength=len(inner) + 1) for v in (here, there)]
        found.append(float(jensen_shannon(counts[0], counts[1])))
        weights.append(len(here))
    return float(np.average(found, weights=weights)) if found else None


def _hours(values: Values, trips: Trips) -> NDArray[np.int64]:
    return trips.times[trips.offsets[:-1]][values.unit] // _SECONDS_AN_HOUR % _HOURS
