"""The file a teacher is loaded from: plain tensors and plain values, never code.

`{'state_dict', 'model_config', 'dataset_config'}`, and `way` where the teacher has a sense of the
way; read with `weights_only=True`. The exporter and the teacher's training write it,
`LMTADTeacher` reads it.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from config.choices import Vocabulary
from critics.lmtad import LMTAD, LMTADConfig
from critics.way import WaySense
from runtime.errors import UserError
from runtime.torch_files import DamagedFile, load_plain, save_plain

COMPILE_PREFIX = "_orig_mod."


@dataclass(frozen=True)
class TeacherWeights:
    """What a weights file holds."""

    state_dict: dict[str, Tensor]
    model_config: dict[str, Any]
    dataset_config: dict[str, Any]
    source: str = "the teacher's weights"
    way: WaySense | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """What a token stands for; published teachers know only grid cells."""
        value = self.dataset_config.get("vocabulary", "grid")
        if value not in ("grid", "road"):
            raise UserError(f"{self.source}: vocabulary is {value!r}, expected 'grid' or 'road'.")
        return value

    @property
    def destination_prefix(self) -> bool:
        """Whether the teacher was told the destination right after SOT."""
        return bool(self.dataset_config.get("destination_prefix", False))

    @property
    def grip_size(self) -> tuple[int, int]:
        """Height and width of the grid in cells."""
        value = self.dataset_config.get("grip_size")
        if (
            not isinstance(value, list | tuple)
            or len(value) != 2
            or not all(isinstance(size, int) and size > 0 for size in value)
        ):
            raise UserError(
                f"{self.source} has no usable grip_size in its dataset_config ({value!r}); export "
                'the checkpoint again with --grip_size "H W".'
            )
        return int(value[0]), int(value[1])

    def fingerprint(self) -> str:
        """A hash of everything that decides what LM-TAD itself answers."""
        digest = hashlib.sha256()
        for name in sorted(self.state_dict):
            tensor = self.state_dict[name].detach().cpu().contiguous()
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        for values in (self.model_config, self.dataset_config):
            digest.update(repr(sorted((key, repr(values[key])) for key in values)).encode())
        return digest.hexdigest()


def save_weights(path: str | Path, weights: TeacherWeights) -> None:
    """Writes the weights file atomically."""
    content = {
        "state_dict": {name: t.detach().cpu().clone() for name, t in weights.state_dict.items()},
        "model_config": dict(weights.model_config),
        "dataset_config": dict(weights.dataset_config),
    }
    if weights.way is not None:
        content["way"] = weights.way.to_plain()
    save_plain(path, content)


def load_weights(path: str | Path) -> TeacherWeights:
    """Reads a weights file; anything else is a `UserError` that says how to get one."""
    path = Path(path)
    advice = "export it with tools/export_lmtad_weights.py or train one with tools/train_lmtad.py"
    if not path.is_file():
        raise UserError(f"The teacher's weights {path} do not exist; {advice}.")
    try:
        content = load_plain(path)
    except DamagedFile as error:
        raise UserError(f"{path} is not a weights-only file ({error}); {advice}.") from error
    if not isinstance(content, dict) or not {"state_dict", "model_config"} <= content.keys():
        raise UserError(f"{path} does not hold 'state_dict' and 'model_config'; {advice}.")
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise UserError(f"{path}: 'state_dict' does not map names to tensors; {advice}.")
    about_trips = content.get("dataset_config")
    configs = [content["model_config"], {} if about_trips is None else about_trips]
    if not all(isinstance(values, dict) for values in configs):
        raise UserError(f"{path}: model_config and dataset_config must be mappings; {advice}.")
    _check_dataset_config(path, configs[1])
    state = {str(name).removeprefix(COMPILE_PREFIX): tensor for name, tensor in state.items()}
    way = WaySense.from_plain(content["way"], str(path)) if "way" in content else None
    return TeacherWeights(state, configs[0], configs[1], source=str(path), way=way)


def _check_dataset_config(path: Path, values: dict[str, Any]) -> None:
    """The entries that decide what a token stands for are of their types."""
    for name, kind, what in (
        ("destination_prefix", bool, "true or false"),
        ("grid_size", int | float, "a number"),
        ("downsample", int, "a whole number"),
        ("num_roads", int, "a whole number"),
        ("network", str, "a text"),
    ):
        value = values.get(name)
        usable = value is None or isinstance(value, kind)
        if usable and name in ("grid_size", "downsample") and value is not None:
            usable = 0 < value < math.inf
        if not usable:
            raise UserError(f"{path}: {name} is {str(value)[:40]!r}; it must be {what}.")


def build_lmtad(weights: TeacherWeights) -> LMTAD:
    """The network with these weights; a missing, spare or misshapen tensor is a `UserError`."""
    try:
        config = LMTADConfig.from_dict(weights.model_config)
    except UserError as error:
        raise UserError(f"{weights.source}: {error}") from error
    with torch.device("meta"):  # shapes only: the values come from the file
        expected = {name: t.shape for name, t in LMTAD(config).state_dict().items()}
    state = dict(weights.state_dict)
    tied = [name for name in ("lm_head.weight", "transformer.wte.weight") if name in state]
    if len(tied) == 1:
        state["lm_head.weight"] = state["transformer.wte.weight"] = state[tied[0]]
    for name, shape in expected.items():
        if name not in state:
            raise UserError(f"{weights.source} lacks the tensor {name}.")
        if state[name].shape != shape:
            raise UserError(
                f"{weights.source}: {name} has shape {tuple(state[name].shape)}, but model_config "
                f"means {tuple(shape)}."
            )
    spare = sorted(name for name in state if name not in expected and not is_buffer(name))
    if spare:
        raise UserError(f"{weights.source} holds tensors LM-TAD does not have: {spare[:3]}.")
    if not torch.equal(state["lm_head.weight"], state["transformer.wte.weight"]):
        raise UserError(f"{weights.source}: lm_head and wte differ, but LM-TAD ties them.")
    model = LMTAD(config)
    model.load_state_dict({name: state[name] for name in expected})
    return model


def is_buffer(name: str) -> bool:
    """Whether a name of the state dict is a constant that the network computes itself."""
    return name.endswith(".attn.bias") or name == "transformer.wpe.pe"
