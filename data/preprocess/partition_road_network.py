"""Divides the roads of a city into zones of equal size with few connections between them (KaHIP).

Roads are nodes, joined where `roadmap.rel` lets one drive from one onto the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from config.arguments import example_parser
from data.preprocess import DEFAULT_ZONES, PARTITION_NAME, ZONE_COUNTS_NAME, placing_zones
from data.road_network import RoadNetwork
from data.zone_record import write_zone_record
from runtime.errors import UserError, run_main
from runtime.files import atomic_write_bytes
from runtime.logs import get_logger, setup_logging
from runtime.placing import clear

logger = get_logger("preprocess")

MIN_ROADS_PER_ZONE = 15
_IMBALANCE = 0.03
_MODE_ECO = 1
_MAX_SEED = 2**31 - 1


def partition_roads(
    network: RoadNetwork, num_zones: int = DEFAULT_ZONES, seed: int = 0
) -> NDArray[np.int64]:
    """The zone of every road; all zones from 0 to the largest have roads. [R]

    A zone holds `MIN_ROADS_PER_ZONE` roads or more on average, so a small city has fewer zones.
    """
    if num_zones < 1:
        raise UserError(f"The number of zones is {num_zones}; it must be at least 1.")
    if not 0 <= seed <= _MAX_SEED:
        raise UserError(f"The partitioner's seed is {seed}; allowed: 0 to {_MAX_SEED}.")
    allowed = max(1, network.num_roads // MIN_ROADS_PER_ZONE)
    if num_zones > allowed:
        logger.info(
            "%d roads make %d zones of at least %d roads, not %d.",
            network.num_roads,
            allowed,
            MIN_ROADS_PER_ZONE,
            num_zones,
        )
    graph = _undirected_graph(network)
    parts, _ = connected_components(graph, directed=False)
    if parts > 1:
        logger.warning(
            "The road network is disconnected (%d parts); some zones may join roads of "
            "several parts.",
            parts,
        )
    blocks = _kaffpa(graph, min(num_zones, allowed), seed)
    return np.unique(blocks, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _undirected_graph(network: RoadNetwork) -> csr_array:
    origin = np.repeat(np.arange(network.num_roads), network.out_degree)
    shape = (network.num_roads, network.num_roads)
    ones = np.ones(len(origin), dtype=np.int32)
    directed = csr_array((ones, (origin, network.reach_targets)), shape=shape)
    graph = csr_array(directed + directed.T)
    graph.setdiag(0)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def _kaffpa(graph: csr_array, num_zones: int, seed: int) -> NDArray[np.int64]:
    num_roads = graph.shape[0]
    if num_zones == 1:
        return np.zeros(num_roads, dtype=np.int64)
    if graph.nnz == 0:  # nothing to cut: neighbours in the file share a zone
        return np.arange(num_roads, dtype=np.int64) * num_zones // num_roads
    try:
        import kahip
    except ImportError as error:
        raise UserError(
            "Zones are made with KaHIP, which is not installed: pip install kahip"
        ) from error
    _, blocks = kahip.kaffpa(
        [1] * num_roads,
        graph.indptr.tolist(),
        [1] * graph.nnz,
        graph.indices.tolist(),
        num_zones,
        _IMBALANCE,
        True,
        seed,
        _MODE_ECO,
    )
    return np.asarray(blocks, dtype=np.int64)


def write_partition(folder: str | Path, num_zones: int = DEFAULT_ZONES, seed: int = 0) -> int:
    """Writes `road_network_partition` and returns the number of zones.

    Zone transitions counted on another partition are removed.
    """
    folder = Path(folder)
    network = RoadNetwork.load(folder, with_zones=False)
    zones = partition_roads(network, num_zones, seed)
    clear(folder / ZONE_COUNTS_NAME)
    text = "\n".join(str(zone) for zone in zones.tolist()) + "\n"
    atomic_write_bytes(folder / PARTITION_NAME, text.encode())
    write_zone_record(folder, network.content_hash)
    count = int(zones.max()) + 1
    logger.info("%s: %d roads in %d zones.", folder / PARTITION_NAME, len(zones), count)
    return count


def main(argv: list[str] | None = None) -> None:
    """Parses the command line and writes the partition."""
    parser = example_parser(
        "Divides a road network into zones (writes road_network_partition).",
        "  python -m data.preprocess.partition_road_network --data_dir data/Beijing",
        prog="python -m data.preprocess.partition_road_network",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--zones", type=int, default=DEFAULT_ZONES, help="number of zones")
    parser.add_argument("--seed", type=int, default=0, help="seed of the partitioner")
    arguments = parser.parse_args(argv)
    setup_logging()
    with placing_zones(arguments.data_dir):
        write_partition(arguments.data_dir, arguments.zones, arguments.seed)


if __name__ == "__main__":
    run_main(main)
