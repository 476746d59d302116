"""The demo: a small city and a teacher that saw many of its trips, made where they are missing."""

from __future__ import annotations

from pathlib import Path

import torch

from config.schema import Config
from critics.registry import teacher_path
from critics.teacher_training import TeacherOptions, train_teacher
from data.demo_city import MANIFEST_NAME, UNFINISHED_NAME, make_demo_city
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.files import FolderLock
from runtime.logs import get_logger

logger = get_logger("demo")

DATASET = "demo"
FOLDER = Path("data/demo")
ROADS = 1500
TRIPS = 10_000
SEED = 0
TEACHER_EPOCHS = 12


def ensure_demo_city(config: Config) -> None:
    """Makes the demo city where it is missing or torn; never in a folder that the user named."""
    if demo_city_is_missing(config):
        folder = Path(config.data_dir)
        make_demo_city(folder, ROADS, TRIPS, SEED, progress=config.training.progress)


def demo_city_is_missing(config: Config) -> bool:
    """Whether the demo is asked for and its city is not there, or not finished."""
    folder = Path(config.data_dir)
    if config.dataset != DATASET or folder != FOLDER:
        return False
    complete = (folder / MANIFEST_NAME).exists()
    of_the_user = (folder / "roadmap.geo").exists() and not (folder / UNFINISHED_NAME).exists()
    return not complete and not of_the_user


def makes_teacher(config: Config) -> bool:
    """Whether a missing teacher is trained and not asked for."""
    return config.dataset == DATASET and config.distill.teacher == "lmtad"


def ensure_demo_teacher(config: Config, network: RoadNetwork, device: torch.device) -> None:
    """Trains the demo's LM-TAD on all training trips, of which the student sees only the first."""
    path = teacher_path(config)
    if not (config.distilling and makes_teacher(config)) or path.exists():
        return
    with FolderLock(path.parent, name=f".{path.name}.lock", wait=True):
        if path.exists():
            return
        logger.info("Training the demo teacher, %s.", path)
        splits = (
            TripDataset.load(config.data_dir, split, network, cache_dir=config.data.cache_dir)
            for split in ("train", "val")
        )
        options = TeacherOptions(
            output=path,
            vocabulary=config.distill.vocabulary,
            destination_prefix=config.distill.destination_prefix,
            grid_size=config.distill.grid_size,
            epochs=TEACHER_EPOCHS,
            device=str(device),
            progress=config.training.progress,
        )
        train_teacher(options, network, *splits)
