"""Checks and loads the trained student and the city it drives in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import Tensor

from config.schema import Config
from critics.road_teacher import HOSERRoadTeacher
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from data.road_times import counted_road_seconds
from data.splits import has_split, split_file
from data.trip_cache import open_trips
from data.turn_counts import edge_counts, turn_surprise
from dataset import TripDataset
from hoser import HOSER
from models.checkpoint import StudentFile, TrainingData, read_student_file
from runtime.errors import UserError, one_line
from runtime.files import sha256_of_file
from runtime.inputs import UNKNOWN, Inputs
from runtime.logs import get_logger
from search.request import find_checkpoint
from times.distribution import TimeDistribution
from times.store import fitted_on_first_use
from ways.bending import KnownWay
from ways.costs import CountedWays, StudentCosts
from ways.store import costs_on_first_use

logger = get_logger("generate")

_ARCHITECTURE = (
    "road_network_encoder_config",
    "trajectory_encoder_config",
    "navigator_config",
)


@dataclass
class City:
    """A road network with its zones, and the configuration of the student for it."""

    config: Config
    network: RoadNetwork
    model_path: Path
    inputs: Inputs = UNKNOWN  # what the student's file says it was trained on
    trained_on: TrainingData | None = None  # what it says of its trips
    known_times: Mapping[str, Any] | None = None  # what it says of how travel times spread
    known_turns: Tensor | None = None  # [E], what it says of how often it saw each turn

    def load_student(self, device: torch.device) -> HOSER:
        """The student, ready to generate."""
        return HOSER.load(self.model_path, self.config, self.network).to(device).eval()

    def trips(self, split: str, max_trips: int | None = None) -> TripDataset:
        """The (first) trips of a split; they also know the travel times' mean and deviation."""
        data = self.config.data
        return TripDataset.load(
            self.config.data_dir,
            split,
            self.network,
            on_bad_rows=data.on_bad_rows,
            cache_dir=data.cache_dir,
            ram_fraction=data.ram_fraction,
            max_trips=max_trips,
            time_statistics=self._time_statistics(),
        )

    @cached_property
    def road_seconds(self) -> NDArray[np.float64]:
        """How long a car usually is on each road, on the training trips that it saw. [R]"""
        trips = self._seen_trips
        return counted_road_seconds(self.network, trips.road_ids, trips.seconds, trips.offsets)

    @cached_property
    def turn_surprise(self) -> NDArray[np.float64]:
        """How unlikely each turn is, as the trips that it saw took it, nats. [E]

        Its file knows of trips that a teacher drove; otherwise those of the dataset are counted.
        """
        network = self.network
        if self.known_turns is not None:
            counts = self.known_turns.double().numpy()
            if len(counts) != len(network.reach_targets):
                raise UserError(
                    f"{self.model_path} does not fit: it knows {len(counts)} turns, the road "
                    f"network has {len(network.reach_targets)}."
                )
        else:
            trips = self._seen_trips
            counts = edge_counts(network, trips.road_ids, trips.offsets)
        return turn_surprise(counts, network.reach_offsets)

    @cached_property
    def _seen_trips(self) -> TripDataset:
        """The training trips that the student saw."""
        return self.trips("train", self.config.data.max_train_trips)

    def fitted_costs(self, device: torch.device) -> StudentCosts:
        """What detours cost the drivers beside what the student believes: kept in the cache."""
        data = self.config.data
        cache = Path(data.cache_dir or Path(self.config.data_dir) / ".cache")
        model_hash = sha256_of_file(self.model_path)

        def student() -> HOSERRoadTeacher:
            return HOSERRoadTeacher(self.load_student(device), self.network)

        return costs_on_first_use(student, model_hash, self.trips("val"), self.counted_ways, cache)

    def known_way(self, device: torch.device) -> KnownWay:
        """What the student's opinion of the next road is to be weighed against."""
        return self.fitted_costs(device).known_way(self.counted_ways)

    @property
    def counted_ways(self) -> CountedWays:
        """All that training trips say of ways."""
        return CountedWays(self.network, self.road_seconds, self.turn_surprise)

    def _time_statistics(self) -> tuple[float, float] | None:
        """What turns the student's travel times into seconds belongs to the student."""
        known = self.trained_on
        return (known.time_log1p_mean, known.time_log1p_std) if known is not None else None

    def say_what_differs(self) -> None:
        """Warns where the training trips here are not those that the student has seen."""
        folder, data = Path(self.config.data_dir), self.config.data
        if self.trained_on is None:
            logger.warning(
                "%s does not say which travel times it was taught; its times are read with those "
                "of the training trips in %s, which must be those it was trained on.",
                self.model_path,
                folder,
            )
        elif has_split(folder, "train"):
            train = split_file(folder, "train")
            cache = Path(data.cache_dir) if data.cache_dir else folder / ".cache"
            found = open_trips(train, self.network, data.on_bad_rows, cache).content_hash
            if found != self.trained_on.train_hash:
                logger.warning(
                    "%s was trained on other trips than those of %s; its travel times are read as "
                    "it was taught.",
                    self.model_path,
                    train,
                )
        here = Inputs(
            network=self.network.content_hash, zones=self.network.require_zones().content_hash
        )
        for difference in self.inputs.differences(here):
            logger.warning("%s was trained with others: %s.", self.model_path, difference)

    def travel_times(self, device: torch.device) -> TimeDistribution:
        """How travel times spread around the student's: from its file, or found out now."""
        if self.known_times is None:
            data = self.config.data
            cache = Path(data.cache_dir or Path(self.config.data_dir) / ".cache")
            model_hash = sha256_of_file(self.model_path)
            student = self.load_student(device)
            return fitted_on_first_use(student, model_hash, self.trips, device, cache)
        try:
            distribution = TimeDistribution.from_plain(self.known_times)
        except UserError as error:
            raise UserError(f"{self.model_path} does not fit: {error}.") from error
        if distribution.num_classes <= int(self.network.road_attr_type.max()):
            raise UserError(
                f"{self.model_path} does not fit: its travel times know "
                f"{distribution.num_classes} classes of roads, the road network has more."
            )
        return distribution

    def made_from(self) -> Inputs:
        """What generated trips depend on here; which pairs they join is asked elsewhere."""
        return Inputs(
            network=self.network.content_hash,
            zones=self.network.require_zones().content_hash,
            model=sha256_of_file(self.model_path),
            train=self.trained_on.train_hash if self.trained_on is not None else None,
        )

    def identity(self) -> dict[str, object]:
        """What the generated trips depend on, as plain data."""
        return {
            "model": sha256_of_file(self.model_path),
            "road_network": self.network.content_hash,
            "zones": self.network.require_zones().content_hash,
            "angle_convention": self.network.angle_convention,
        }


def open_city(config: Config, model_path: str | Path | None) -> City:
    """Loads the network and settles the student's architecture from its file."""
    path = Path(model_path) if model_path is not None else find_checkpoint(config)
    student = read_student_file(path)
    config = _as_trained(config, student, path)
    folder = Path(config.data_dir)
    network = RoadNetwork.load(folder, config.data.angle_convention)
    if network.zones is None:
        data = config.data
        ensure_zones(folder, data.num_zones, on_bad_rows=data.on_bad_rows, cache_dir=data.cache_dir)
        network = RoadNetwork.load(folder, config.data.angle_convention)
    return City(
        config,
        network,
        path,
        inputs=student.inputs,
        trained_on=student.trained_on,
        known_times=student.travel_times,
        known_turns=student.turn_counts,
    )


def _as_trained(config: Config, student: StudentFile, path: Path) -> Config:
    """`config` with the widths and angles that the file was trained with, and how many trips."""
    tree: dict[str, Any] = config.model_dump(by_alias=True)
    for section, widths in _widths_of(student.state).items():
        tree[section] |= widths
    if student.max_len is not None:
        tree["trajectory_encoder_config"]["max_len"] = student.max_len
    data = student.config.get("data") if student.config is not None else None
    if isinstance(data, Mapping):
        known = ("angle_convention", "max_train_trips")
        tree["data"] |= {name: data[name] for name in known if name in data}
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        reason = one_line(error.errors()[0]["msg"])
        raise UserError(f"The student in {path} cannot be built: {reason}.") from error


def _widths_of(state: Mapping[str, Tensor]) -> dict[str, dict[str, int]]:
    """The architecture sections, as far as the parameters' shapes tell."""

    def width(name: str, axis: int) -> int | None:
        tensor = state.get(name)
        return tensor.shape[axis] if tensor is not None and tensor.ndim > axis else None

    roads, trip = "road_network_encoder", "trajectory_encoder.transformer.h"
    widths = {
        "road_id_emb_dim": width(f"{roads}.road_id_emb.weight", 1),
        "len_emb_dim": width(f"{roads}.len_emb.weight", 0),
        "type_emb_dim": width(f"{roads}.type_emb.weight", 1),
        "lon_emb_dim": width(f"{roads}.lon_emb.weight", 0),
        "lat_emb_dim": width(f"{roads}.lat_emb.weight", 0),
        "zone_id_emb_dim": width(f"{roads}.zone_id_emb.weight", 1),
        "intersection_emb_dim": width(f"{roads}.zone_id_emb.weight", 1),
    }
    hidden = width(f"{trip}.0.attn.c_proj.weight", 0)
    head = width(f"{trip}.0.attn.relative_position_emb_k.weight", 0)
    blocks = {name.split(".")[3] for name in state if name.startswith(f"{trip}.")}
    encoder = {
        "hidden_dim": hidden // 2 if hidden else None,
        "num_heads": hidden // head if hidden and head else None,
        "num_layers": len(blocks) or None,
    }
    navigator = {"hidden_dim": width("navigator.v_proj.weight", 1)}
    sections = zip(_ARCHITECTURE, (widths, encoder, navigator))
    return {name: {k: v for k, v in s.items() if v is not None} for name, s in sections}
