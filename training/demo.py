"""The demo: a small city and a small teacher, made where they are missing."""

from __future__ import annotations

from pathlib import Path

from config.schema import Config
from data.demo_city import MANIFEST_NAME, UNFINISHED_NAME, make_demo_city

DATASET = "demo"
ROADS = 1500
TRIPS = 6000
SEED = 0


def ensure_demo_city(config: Config) -> None:
    """Makes the demo city where the demo is trained on and its folder is not there or torn."""
    if config.dataset != DATASET:
        return
    folder = Path(config.data_dir)
    complete = (folder / MANIFEST_NAME).exists()
    of_the_user = (folder / "roadmap.geo").exists() and not (folder / UNFINISHED_NAME).exists()
    if not complete and not of_the_user:
        make_demo_city(folder, ROADS, TRIPS, SEED, progress=config.training.progress)
