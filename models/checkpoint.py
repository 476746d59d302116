"""Reading the student's parameters from files: the original's, ours, plain or in a checkpoint.

Only tensors and plain values are read (`weights_only`); what does not fit the configured model or
the road network is reported in the user's terms.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from runtime.errors import UserError
from runtime.inputs import KEY, UNKNOWN, Inputs
from runtime.torch_files import DamagedFile, load_plain, save_plain

# In the original's files, used by no formula: an unused head, and the causal masks.
IGNORED = re.compile(
    r"navigator\.time_estimator\.\d+\.(weight|bias)|trajectory_encoder\.transformer\.h\.\d+\.attn\.bias"
)
_MASK = "trajectory_encoder.transformer.h.0.attn.bias"
_STATE_KEYS = ("model", "model_state_dict", "state_dict", "student")
_WRAPPER_PREFIXES = ("module.", "_orig_mod.")
_ROADS = "road_network_encoder.road_id_emb.weight"
_TYPES = "road_network_encoder.type_emb.weight"
_ZONES = "road_network_encoder.zone_id_emb.weight"
_FEATURE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class TrainingData:
    """What a student saw of its training trips: needed to read its travel times as seconds."""

    train_hash: str  # of train.csv as it was read
    time_log1p_mean: float
    time_log1p_std: float

    @classmethod
    def read(cls, content: object, path: Path) -> TrainingData | None:
        """Checks what a file says; None where it says nothing, as the original's files."""
        if content is None:
            return None
        try:
            found = cls(**content)  # type: ignore[arg-type]
        except TypeError:
            found = cls("", math.nan, math.nan)
        statistics = (found.time_log1p_mean, found.time_log1p_std)
        usable = isinstance(found.train_hash, str) and all(
            isinstance(value, float) and math.isfinite(value) for value in statistics
        )
        if not usable or found.time_log1p_std <= 0:
            raise UserError(f"{path} is damaged: it does not say which travel times it was taught.")
        return found


@dataclass(frozen=True)
class StudentFile:
    """What a student's file says."""

    state: dict[str, Tensor]  # the original's unused names included
    max_len: int | None  # longest trip it was configured for, where the file tells
    config: Mapping[str, object] | None = None  # what it was trained with, where the file tells
    trained_on: TrainingData | None = None  # where the file tells
    travel_times: Mapping[str, Any] | None = None  # how they spread, where the file tells
    turn_counts: Tensor | None = None  # [E], how often it saw each turn, where the file tells
    inputs: Inputs = UNKNOWN  # what it was trained on, as far as the file tells


def load_student_state(path: str | Path) -> dict[str, Tensor]:
    """Parameter name -> tensor, without the prefixes of wrappers (DDP, compiled modules)."""
    return read_student_file(path).state


def read_student_file(path: str | Path) -> StudentFile:
    """Reads a state dict, or a checkpoint that holds one beside its `config`."""
    content = _load_mapping(Path(path))
    weights: Mapping[object, object] = content
    for key in _STATE_KEYS:
        inner = content.get(key)
        if isinstance(inner, Mapping):
            weights = inner
            break
    state = {
        _without_prefixes(name): value
        for name, value in weights.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if _ROADS not in state:
        some = ", ".join(sorted(state)[:3]) or "no tensors"
        raise UserError(f"{path} holds no HOSER student (found {some}; expected {_ROADS}, ...)")
    config, times = content.get("config"), content.get("travel_times")
    return StudentFile(
        state=state,
        max_len=_trained_max_len(content, state),
        config=config if isinstance(config, Mapping) else None,
        trained_on=TrainingData.read(content.get("trained_on"), Path(path)),
        travel_times=times if isinstance(times, Mapping) else None,
        turn_counts=_turn_counts(content.get("turn_counts"), path),
        inputs=Inputs.read({KEY: content.get(KEY) or content.get("identity") or {}}),
    )


def is_bare_student(path: str | Path) -> bool:
    """Whether a file is a state dict alone, without anything beside it."""
    content = _load_mapping(Path(path))
    return not any(isinstance(content.get(key), Mapping) for key in _STATE_KEYS)


def add_to_student_file(path: Path, key: str, value: object, output: Path) -> None:
    """Writes the student's file `path` with one thing more in it to `output`, atomically."""
    content = load_plain(path)
    whole = {"model": content} if is_bare_student(path) else dict(content)
    save_plain(output, {**whole, key: value})


def _turn_counts(value: object, path: str | Path) -> Tensor | None:
    if value is None:
        return None
    if not isinstance(value, Tensor) or value.ndim != 1 or not value.is_floating_point():
        raise UserError(f"{path} is damaged: it does not say how often it saw each turn.")
    if not bool((torch.isfinite(value) & (value >= 0)).all()):
        raise UserError(f"{path} is damaged: how often it saw a turn is not a number.")
    return value


def _load_mapping(path: Path) -> Mapping[object, object]:
    if not path.is_file():
        raise UserError(f"There is no checkpoint {path}; give the path of a trained student (.pth)")
    try:
        content = load_plain(path)
    except DamagedFile as error:
        raise UserError(f"{path} is damaged or not a checkpoint of tensors ({error})") from error
    if not isinstance(content, Mapping):
        kind = type(content).__name__
        raise UserError(f"{path} holds a {kind}; expected a state dict or a checkpoint with one")
    return content


def _trained_max_len(content: Mapping[object, object], state: Mapping[str, Tensor]) -> int | None:
    if _MASK in state:
        return state[_MASK].shape[-1]
    inner: object = content
    for key in ("config", "trajectory_encoder_config", "max_len"):
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    return inner if isinstance(inner, int) else None


def _without_prefixes(name: str) -> str:
    for prefix in _WRAPPER_PREFIXES * 2:
        name = name.removeprefix(prefix)
    return name


def without_spare_zones(file: StudentFile, num_zones: int) -> StudentFile:
    """The file without embeddings of zones that no road lies in.

    The original takes any `zone_id_num_embeddings` from the number of zones upwards; zones without
    roads touch no other zone, so that the rest computes the same without them.
    """
    zones, road2zone = file.state.get(_ZONES), file.state.get("road2zone")
    if zones is None or road2zone is None or zones.ndim != 2 or not road2zone.numel():
        return file
    if zones.shape[0] <= num_zones or int(road2zone.max()) >= num_zones:
        return file
    return replace(file, state={**file.state, _ZONES: zones[:num_zones].clone()})


def check_student_file(
    file: StudentFile, expected: Mapping[str, Tensor], max_len: int, path: str | Path
) -> None:
    """Raises `UserError` listing every way in which a file does not fit the built model."""
    state = file.state
    differences = [*_size_differences(state, expected), *_max_len_difference(file.max_len, max_len)]
    if not differences:
        differences = _city_differences(state, expected)
    if not differences:
        differences = _name_and_shape_differences(state, expected)
    if differences:
        raise UserError(f"{path} does not fit: {'; '.join(differences)}")


def _size_differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    found = []
    for name, what in ((_ROADS, "roads"), (_TYPES, "road types"), (_ZONES, "zones")):
        if name in state and state[name].shape[0] != expected[name].shape[0]:
            found.append(
                f"it was trained with {state[name].shape[0]} {what}, "
                f"the road network has {expected[name].shape[0]}"
            )
    return found


def _max_len_difference(trained: int | None, max_len: int) -> list[str]:
    if trained is None or trained == max_len:
        return []
    return [
        f"its max_len is {trained}, trajectory_encoder_config.max_len is {max_len} "
        f"(set it to {trained})"
    ]


def _city_differences(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Same sizes, other city: compares what the file remembers of the network it was trained on."""
    titles = {
        "road2zone": "the zones of the roads",
        "road_network_encoder.road_attr_len": "road lengths",
        "road_network_encoder.road_attr_type": "road types",
        "road_network_encoder.road_attr_lon": "road longitudes",
        "road_network_encoder.road_attr_lat": "road latitudes",
        "road_network_encoder.road_edge_index": "which roads touch",
        "road_network_encoder.intersection_attr": "angles and reachability at intersections",
        "road_network_encoder.zone_edge_index": "which zones trips join",
        "road_network_encoder.zone_edge_weight": "how many trips join the zones",
    }
    found = []
    for name, title in titles.items():
        if name not in state:
            continue
        ours, theirs = expected[name], state[name].to(expected[name].dtype)
        if ours.shape != theirs.shape:
            sizes = f"{list(theirs.shape)} in the file, {list(ours.shape)} in the network"
            found.append(f"{title} differ ({sizes})")
        elif ours.numel() and not torch.allclose(ours, theirs, rtol=0, atol=_FEATURE_TOLERANCE):
            wrong = (~torch.isclose(ours, theirs, rtol=0, atol=_FEATURE_TOLERANCE)).sum()
            found.append(f"{title} differ in {int(wrong)} of {ours.numel()} places")
    if found:
        found.insert(0, "it was trained on another road network or other zones")
    return found


def _name_and_shape_differences(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> list[str]:
    found = []
    missing = sorted(set(expected) - set(state))
    unknown = sorted(name for name in set(state) - set(expected) if not IGNORED.fullmatch(name))
    if missing:
        found.append(f"missing {', '.join(missing[:3])} ({len(missing)} in all)")
    if unknown:
        found.append(f"unknown {', '.join(unknown[:3])} ({len(unknown)} in all)")
    for name in sorted(set(expected) & set(state)):
        if state[name].shape != expected[name].shape:
            sizes = f"{list(state[name].shape)}, configured are {list(expected[name].shape)}"
            found.append(f"{name} is {sizes}")
    return found[:5]
