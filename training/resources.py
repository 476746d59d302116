"""What a run reads: the road network with its zones, the trips, loaded once for many runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from config.schema import Config
from critics.distill_hook import DistillationManager
from critics.road_teacher import RoadTeacher
from critics.teacher_report import teacher_report
from critics.teachers import load_teacher
from data.preprocess import ensure_zones
from data.preprocess.zone_check import check_zones
from data.road_network import RoadNetwork
from data.splits import split_file
from dataset import TripDataset
from runtime.files import sha256_of_json
from runtime.logs import get_logger

logger = get_logger("train")

REPORTED_TRIPS = 200
TEACHER_SETTINGS = {
    "teacher",
    "teacher_name",
    "teacher_config",
    "ckpt",
    "further_ckpts",
    "dtype",
    "vocabulary",
    "destination_prefix",
    "window",
    "grid_size",
    "downsample",
    "bounds",
    "verify_grid_dims",
}


@dataclass(frozen=True)
class Resources:
    """The network and the splits that training needs."""

    network: RoadNetwork
    train: TripDataset
    val: TripDataset


@dataclass
class ResourcePool:
    """Resources by the settings they depend on, shared by the runs of a study."""

    _loaded: dict[tuple[Any, ...], Resources] = field(default_factory=dict)
    _teachers: dict[tuple[Any, ...], RoadTeacher] = field(default_factory=dict)
    _reported: set[str] = field(default_factory=set)

    def get(self, config: Config) -> Resources:
        """The resources of `config`, loaded on first use."""
        key = (
            os.path.realpath(config.data_dir),  # of a link in a circle, too
            config.data.model_dump_json(),
            config.trajectory_encoder_config.max_len,
        )
        if key not in self._loaded:
            self._loaded[key] = load_resources(config)
        return self._loaded[key]

    def teacher(
        self, config: Config, resources: Resources, device: torch.device
    ) -> DistillationManager:
        """A manager of its own for a run, around the shared teacher."""
        of_teacher = config.distill.model_dump_json(include=TEACHER_SETTINGS)
        key = (str(device), resources.network.content_hash, of_teacher)
        if key not in self._teachers:
            self._teachers[key] = load_teacher(config, resources.network, device)
        return DistillationManager(config, resources.network, device, self._teachers[key])

    def report_teacher(
        self, config: Config, resources: Resources, manager: DistillationManager
    ) -> None:
        """Says once how good the teacher is, before anything is distilled from it."""
        teacher = manager.teacher
        name = sha256_of_json(teacher.identity())
        if not config.distill.teacher_report or name in self._reported:
            return
        self._reported.add(name)
        report = teacher_report(teacher, resources.val, resources.train, max_trips=REPORTED_TRIPS)
        logger.info("The teacher %s:\n%s", teacher.name, report.table())


def load_resources(config: Config) -> Resources:
    """Loads the network and the trips, making zones and caches that are missing."""
    folder = Path(config.data_dir)
    network = RoadNetwork.load(folder, config.data.angle_convention)
    for split in ("train", "val"):
        split_file(folder, split)  # before zones and caches are made
    if network.zones is None:
        ensure_zones(
            folder,
            config.data.num_zones,
            on_bad_rows=config.data.on_bad_rows,
            cache_dir=config.data.cache_dir,
        )
        network = RoadNetwork.load(folder, config.data.angle_convention)
    check_zones(network, config.data.on_bad_rows, config.data.cache_dir)
    train, val = (load_split(config, network, split) for split in ("train", "val"))
    return Resources(network, train, val)


def load_split(config: Config, network: RoadNetwork, split: str) -> TripDataset:
    """One split as `config` wants it."""
    return TripDataset.load(
        config.data_dir,
        split,
        network,
        on_bad_rows=config.data.on_bad_rows,
        max_len=config.trajectory_encoder_config.max_len,
        candidate_top_k=config.data.candidate_top_k,
        cache_dir=config.data.cache_dir,
        ram_fraction=config.data.ram_fraction,
        max_trips=config.data.max_train_trips if split == "train" else None,
    )
