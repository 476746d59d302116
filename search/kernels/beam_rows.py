"""What every search that keeps beams does with a beam's rows; the arrays are in `layout`."""

from __future__ import annotations

import numpy as np

from runtime.jit import kernel


@kernel()
def begin_beam(s, origin, start, state, beams):  # type: ignore[no-untyped-def]
    """Clears a slot and puts its trip's first road into the beam."""
    state.best[s, :] = -np.inf
    state.best[s, origin] = 0.0
    beams.at[0, s, 0] = -1
    beams.at[1, s, 0] = origin
    beams.at[2, s, 0] = start
    beams.log_prob[s, 0] = 0.0
    beams.filled[s] = 1
    beams.nearest_m[s] = np.inf
    beams.arrival_log_prob[s] = -np.inf


@kernel()
def list_row(s, b, beams, out, num_out):  # type: ignore[no-untyped-def]
    """Lists a beam's partial trip as one to continue."""
    out.at[0, num_out] = s
    out.at[1:, num_out] = beams.at[:, s, b]
    out.log_prob[num_out] = beams.log_prob[s, b]


@kernel()
def end_search(s, arrived, beams, ended, reached, num_ended):  # type: ignore[no-untyped-def]
    """Lists what a slot returns: its best arrival, or the partial trip that came nearest."""
    reached[num_ended] = arrived
    ended.at[0, num_ended] = s
    if arrived:
        ended.at[1:, num_ended] = beams.arrival_at[:, s]
        ended.log_prob[num_ended] = beams.arrival_log_prob[s]
    else:
        ended.at[1:, num_ended] = beams.nearest_at[:, s]
        ended.log_prob[num_ended] = beams.nearest_log_prob[s]
