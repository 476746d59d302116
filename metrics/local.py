"""How far each generated trip is from the real trip it is paired with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from config.choices import DtwKind
from data.road_network import RoadNetwork
from metrics.od import Pairs
from metrics.trips import Trips

FloatArray = NDArray[np.float64]

FASTDTW_RADIUS = 1
PAIRS_PER_CHUNK = 16_384


@dataclass(frozen=True)
class PairMetrics:
    """One value per pair; `points` is the length of the longer trip."""

    hausdorff_km: FloatArray  # [K]
    dtw_km: FloatArray  # [K]
    edits: NDArray[np.int64]  # [K]
    points: NDArray[np.int64]  # [K]


def measure_local(
    real: Trips,
    generated: Trips,
    pairs: Pairs,
    network: RoadNetwork,
    *,
    edr_eps: float = 100.0,
    dtw: DtwKind = "fastdtw",
) -> PairMetrics:
    """Measures every pair; beyond the results, memory does not depend on their number."""
    from metrics.pair_kernels import measure_pairs

    count = len(pairs)
    hausdorff, warp = np.empty(count), np.empty(count)
    edits = np.empty(count, dtype=np.int64)
    for start in range(0, count, PAIRS_PER_CHUNK):
        chunk = slice(start, min(start + PAIRS_PER_CHUNK, count))
        measure_pairs(
            real.road_ids,
            real.offsets,
            pairs.real[chunk],
            generated.road_ids,
            generated.offsets,
            pairs.generated[chunk],
            network.center_lat,
            network.center_lon,
            float(edr_eps),
            FASTDTW_RADIUS if dtw == "fastdtw" else 0,
            hausdorff[chunk],
            warp[chunk],
            edits[chunk],
        )
    points = np.maximum(real.lengths[pairs.real], generated.lengths[pairs.generated])
    return PairMetrics(hausdorff, warp, edits, points)
