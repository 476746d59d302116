"""Command line for all of preprocessing: zones, then zone transitions."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from config.arguments import example_parser
from config.choices import OnBadRows
from data.preprocess import DEFAULT_ZONES, ensure_zones, has_zones
from data.preprocess.zone_check import check_zones
from data.road_network import RoadNetwork
from data.splits import has_split
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging


def main(argv: list[str] | None = None) -> None:
    """Makes the files that the folder lacks."""
    parser = example_parser(
        "Makes road_network_partition and zone_trans_mat.npy where they are missing.",
        "  python -m data.preprocess --data_dir data/Beijing",
        prog="python -m data.preprocess",
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--zones", type=int, default=DEFAULT_ZONES, help="number of zones")
    parser.add_argument("--seed", type=int, default=0, help="seed of the partitioner")
    parser.add_argument(
        "--on_bad_rows", choices=get_args(OnBadRows), default="error", help="what bad trips do"
    )
    parser.add_argument("--force", action="store_true", help="make both files anew")
    arguments = parser.parse_args(argv)
    setup_logging()
    if not arguments.data_dir.is_dir():
        raise UserError(f"The dataset folder {arguments.data_dir} does not exist.")
    if has_zones(arguments.data_dir) and not arguments.force:
        _check_kept(arguments.data_dir, arguments.on_bad_rows)
    ensure_zones(
        arguments.data_dir,
        arguments.zones,
        arguments.seed,
        on_bad_rows=arguments.on_bad_rows,
        force=arguments.force,
    )
    print(f"Zones and zone transitions are in {arguments.data_dir}.")


def _check_kept(folder: Path, on_bad_rows: OnBadRows) -> None:
    """Refuses zones of other roads, which stay as they are; says where others have changed."""
    network = RoadNetwork.load(folder)
    if has_split(folder, "train"):
        check_zones(network, on_bad_rows)


if __name__ == "__main__":
    run_main(main)
