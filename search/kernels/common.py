"""What all searches compute: distances to the destination, and scores from the model's output."""

from __future__ import annotations

import math

import numpy as np

from runtime.jit import kernel


@kernel()
def distance_m(lon, lat, first, second):  # type: ignore[no-untyped-def]
    """Haversine between two road centres given in radians, as the original compares them."""
    delta_lat = lat[second] - lat[first]
    delta_lon = lon[second] - lon[first]
    squared = math.sin(delta_lat * 0.5) ** 2
    squared += math.cos(lat[first]) * math.cos(lat[second]) * math.sin(delta_lon * 0.5) ** 2
    return 2.0 * 6371008.8 * math.asin(math.sqrt(min(squared, 1.0)))


@kernel()
def continue_trips(  # type: ignore[no-untyped-def]
    logits, time_pred, first, road, log_prob, seconds, offsets, time_mean, time_std, max_wait,
    next_log_prob, next_seconds,
):  # fmt: skip
    """Log-probabilities and times of the trips continued by each candidate, rows of [N, C].

    logits, time_pred: flat; those of trip n begin at first[n]. In float32 and in the original's
    order of operations: log-softmax over the candidates, plus the trip's log-probability;
    normalised log1p seconds, at least zero, rounded half to even.
    Returns False where a score is not finite.
    """
    zero = np.float32(0.0)
    for n in range(len(road)):
        begin = first[n]
        count = offsets[road[n] + 1] - offsets[road[n]]
        best = logits[begin]
        for c in range(1, count):
            best = max(best, logits[begin + c])
        total = zero
        for c in range(count):
            total += np.exp(logits[begin + c] - best)
        log_total = np.log(total)
        for c in range(count):
            score = ((logits[begin + c] - best) - log_total) + log_prob[n]
            normalised = time_pred[begin + c]
            if not (np.isfinite(score) and np.isfinite(normalised)):
                return False
            wait = min(max(np.expm1(normalised * time_std + time_mean), zero), max_wait)
            next_log_prob[n, c] = score
            next_seconds[n, c] = seconds[n] + np.int64(np.rint(np.float64(wait)))
    return True
