"""Opens whatever is to judge trips: a teacher's file or a student's, told apart by content."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from config.choices import Window
from config.finding import run_of
from config.generation import CostsName
from config.schema import Config
from critics.road_teacher import road_teacher
from critics.scoring.judges import Judge, StudentJudge, TeacherJudge
from critics.weights import load_weights
from data.road_network import RoadNetwork
from runtime.errors import UserError
from runtime.torch_files import DamagedFile, load_plain
from search.student import open_city


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A short name for each file: as much of its path's end as tells it from the others.

    A run's best student goes by the name of its folder.
    """
    bare = [path.with_suffix("") for path in paths]
    named = [run_of(path) if path.name == "best" and path.parent.name else path for path in bare]
    for parts in range(1, 1 + max(len(path.parts) for path in named)):
        names = ["/".join(path.parts[-parts:]) for path in named]
        if len(set(names)) == len(names):
            return names
    raise UserError(f"The model {paths[0]} is named twice.")


def open_judge(
    path: Path,
    name: str,
    config: Config,
    network: RoadNetwork,
    window: Window,
    device: torch.device,
    costs: CostsName = "given",
) -> Judge:
    """The model of a file, ready to judge trips on the network; students by fitted costs, too."""
    if _is_teacher(path):
        return TeacherJudge(
            name, road_teacher(load_weights(path), network, window, device), network
        )
    return _open_student(path, name, config, network, device, costs)


def _is_teacher(path: Path) -> bool:
    if not path.is_file():
        raise UserError(f"There is no model {path}; give a teacher's .pt or a student's .pth file.")
    try:
        content = load_plain(path)
    except DamagedFile as error:
        raise UserError(f"{path} is damaged or holds no model ({error}).") from error
    return isinstance(content, dict) and "model_config" in content


def _open_student(
    path: Path,
    name: str,
    config: Config,
    network: RoadNetwork,
    device: torch.device,
    costs: CostsName,
) -> StudentJudge:
    city = open_city(config, path)
    # The student reads angles as it was taught to, which is a part of its network's features.
    if city.network.content_hash != network.content_hash:
        raise UserError(f"{path} belongs to another road network than {network.folder}.")
    city.say_what_differs()
    model = city.load_student(device)
    statistics = city.trips("train")
    pair = (statistics.time_mean, statistics.time_std)
    way = city.known_way(device) if costs == "fitted" else None
    return StudentJudge(name, model, city.network, pair, city.travel_times(device), way)
