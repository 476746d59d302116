"""Teachers that speak of roads: logits for the candidates of trips, whatever is behind them.

`LMTADRoadTeacher` translates roads to tokens for LM-TAD, `HOSERRoadTeacher` asks a larger HOSER.
Which of them a configuration means, whether their answers come from a cache, and what is done with
them is not decided here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from config.choices import TeacherDtype, Window
from critics.grid_mapper import GridMapper
from critics.lmtad_teacher import LMTADTeacher
from critics.registry import require_teacher
from critics.way import Way
from critics.weights import TeacherWeights
from dataset import Batch, RowSpec, TripDataset
from runtime.errors import UserError
from runtime.files import sha256_of_arrays
from runtime.logs import get_logger

if TYPE_CHECKING:
    from config.schema import Config, DistillConfig
    from data.road_network import RoadNetwork
    from hoser import HOSER

logger = get_logger("teacher")
MAX_PADDED_POSITIONS = 1 << 20


class RoadTeacher(Protocol):
    """What distillation needs of a teacher."""

    device: torch.device
    name: str
    tie_keys: Tensor | None  # int64 [R]: roads with the same key are one to the teacher
    repeats_histories: bool  # whether many positions share a history, which is computed once

    def identity(self) -> dict[str, str]:
        """What decides its logits, beside the trips and the road network."""
        ...

    def batch_logits(
        self, batch: Batch, position_mask: Tensor, dataset: TripDataset | None = None
    ) -> Tensor:
        """Logits [B, T, C]; minus infinity past the candidates and outside the mask.

        With the `dataset`, rows that were cropped are judged from their trip's whole history.
        """
        ...

    def hidden_states(self, batch: Batch, step: Tensor) -> Tensor:
        """The hidden state [B, E] of each row at its place `step` [B]."""
        ...

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of all candidates of all positions of whole trips, one after the other."""
        ...

    def road_vectors(self) -> Tensor:
        """A vector [R, E] for every road: what it knows of the road without any trip."""
        ...


class LMTADRoadTeacher:
    """LM-TAD behind a road-to-token table, with a sense of the way where it is given one."""

    def __init__(
        self,
        teacher: LMTADTeacher,
        road_to_token: NDArray[np.int64],  # [R]
        network: RoadNetwork,
        window: Window = "full",
        way: Way | None = None,
    ) -> None:
        self.name = "LM-TAD"
        self.teacher = teacher
        self.device = teacher.device
        self.window = window
        self.way = way
        self.repeats_histories = window != "full" and not teacher.destination_prefix
        highest = int(road_to_token.max(initial=0))
        if highest >= teacher.num_places:
            raise UserError(
                f"Roads map to tokens up to {highest}, but {teacher.source} has only "
                f"{teacher.num_places} tokens for places."
            )
        self.tokens_hash = sha256_of_arrays(road_to_token)
        self.road_to_token = torch.from_numpy(road_to_token).to(self.device)
        shared = len(np.unique(road_to_token)) < len(road_to_token)
        self.tie_keys = self.road_to_token if shared else None
        self.reach_offsets = torch.from_numpy(network.reach_offsets).to(self.device)
        targets = network.reach_targets if len(network.reach_targets) else np.zeros(1, np.int64)
        self.reach_targets = torch.from_numpy(targets).to(self.device)

    @classmethod
    def from_config(
        cls, config: Config, network: RoadNetwork, device: torch.device | str = "cpu"
    ) -> LMTADRoadTeacher:
        """Loads the configured weights and checks that they fit config and road network."""
        teacher = LMTADTeacher(require_teacher(config), device, config.distill.dtype)
        return cls.for_weights(teacher, config.distill, network)

    @classmethod
    def for_weights(
        cls, teacher: LMTADTeacher, distill: DistillConfig, network: RoadNetwork
    ) -> LMTADRoadTeacher:
        """A loaded teacher with the table that its vocabulary and `distill` mean."""
        _check_against_config(teacher, distill)
        if teacher.vocabulary == "road":
            tokens = road_vocabulary(teacher.dataset_config, network, teacher.source)
        else:
            config = teacher.dataset_config
            try:
                tokens = GridMapper.from_config(distill, network, config).road_to_token
            except UserError as error:
                raise UserError(f"{teacher.source}: {error}") from error
        sense = teacher.way_sense
        way = Way(sense, network, teacher.device) if sense is not None else None
        return cls(teacher, tokens, network, distill.window, way)

    def identity(self) -> dict[str, str]:
        return {
            "teacher": "lmtad",
            "weights": self.teacher.fingerprint,
            "tokens": self.tokens_hash,
            "window": str(self.window),
            "dtype": str(self.teacher.dtype),
            **({"way": self.way.identity()} if self.way is not None else {}),
        }

    def batch_logits(
        self, batch: Batch, position_mask: Tensor, dataset: TripDataset | None = None
    ) -> Tensor:
        roads, first = _whole_histories(batch, dataset)
        logits = self.teacher.candidate_logits(
            self.road_to_token[roads],
            batch.trace_len,
            self.road_to_token[batch.candidate_road_id],
            batch.candidate_len,
            self.road_to_token[batch.destination_road_id],
            window=self.window,
            position_mask=position_mask,
            first_step=first,
        )
        if self.way is None:
            return logits
        ahead = self.way.ahead(batch.destination_road_id)
        return ahead.bend(logits, batch.trace_road_id, batch.candidate_road_id)

    def hidden_states(self, batch: Batch, step: Tensor) -> Tensor:
        return self.teacher.hidden_states(
            self.road_to_token[batch.trace_road_id],
            torch.arange(batch.num_trips, device=self.device),
            step,
            self.road_to_token[batch.destination_road_id],
            window=self.window,
        ).float()

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        spec = _whole_trips(dataset, trip_id)
        if len(spec) > 1 and len(spec) * int(spec.trace_len.max()) > MAX_PADDED_POSITIONS:
            middle = len(spec) // 2  # one long trip must not pad thousands of short ones
            halves = (trip_id[:middle], trip_id[middle:])
            return np.concatenate([self.trip_logits(dataset, half) for half in halves])
        rows = dataset.rows(spec)
        trace = rows.road_ids[:, :-1].to(self.device)
        trace_len = rows.trace_len.to(self.device)
        start = self.reach_offsets[trace]
        real = torch.arange(trace.shape[1], device=self.device) < trace_len.unsqueeze(1)
        count = (self.reach_offsets[trace + 1] - start) * real
        place = torch.arange(rows.max_candidates, device=self.device)
        mask = place < count.unsqueeze(-1)
        candidates = self.reach_targets[torch.where(mask, start.unsqueeze(-1) + place, 0)]
        logits = self.teacher.candidate_logits(
            self.road_to_token[trace],
            trace_len,
            self.road_to_token[candidates],
            count,
            self.road_to_token[rows.destination_road_id.to(self.device)],
            window=self.window,
        )[mask].cpu()
        if self.way is not None:
            logits = self.way.bend_along(logits, *dataset.laid_out(trip_id))
        return logits.numpy()

    def road_vectors(self) -> Tensor:
        return self.teacher.place_vectors()[self.road_to_token].float()


class HOSERRoadTeacher:
    """A trained HOSER, usually larger than the student; the window does not apply to it.

    It judges what it is given: the row of a batch, or a trip in pieces of its own `max_len`.
    """

    def __init__(self, model: HOSER, network: RoadNetwork) -> None:
        self.name = "HOSER"
        self.angle_convention = network.angle_convention
        self.model = model.eval().requires_grad_(False)
        self.device = next(model.parameters()).device
        self.tie_keys: Tensor | None = None
        self.repeats_histories = False
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            self.tables = model.encode_roads()  # its roads never change

    @classmethod
    def from_config(
        cls, config: Config, network: RoadNetwork, device: torch.device | str = "cpu"
    ) -> HOSERRoadTeacher:
        """Loads the checkpoint with the model of `distill.teacher_config`, else the student's."""
        from config import load_config
        from hoser import HOSER

        path = require_teacher(config)
        own = config
        if config.distill.teacher_config:
            own = load_config(Path(config.distill.teacher_config).expanduser())
        sections = ("road_network_encoder_config", "trajectory_encoder_config", "navigator_config")
        if all(getattr(own, name) == getattr(config, name) for name in sections):
            logger.warning(
                "The HOSER teacher %s has the student's architecture; expect little from it. "
                "Describe a larger one in distill.teacher_config.",
                path,
            )
        return cls(HOSER.load(path, own, network).to(torch.device(device)), network)

    def identity(self) -> dict[str, str]:
        state = self.model.state_dict()
        arrays = [state[name].cpu().numpy() for name in sorted(state)]
        return {
            "teacher": "hoser",
            "weights": sha256_of_arrays(*arrays),
            "angle_convention": self.angle_convention,
        }

    def batch_logits(
        self, batch: Batch, position_mask: Tensor, dataset: TripDataset | None = None
    ) -> Tensor:
        logits = self._forward(batch)[0]
        mask = batch.candidate_mask & position_mask.unsqueeze(-1)
        return torch.where(mask, logits, -torch.inf)

    def hidden_states(self, batch: Batch, step: Tensor) -> Tensor:
        hidden = self._forward(batch, with_hidden=True)[2]
        return hidden[torch.arange(batch.num_trips, device=hidden.device), step].float()

    def trip_logits(self, dataset: TripDataset, trip_id: NDArray[np.int64]) -> NDArray[np.float32]:
        limit = self.model.trajectory_encoder.max_len
        spec = _whole_trips(dataset, trip_id)
        pieces = -(-spec.trace_len // limit)
        of_trip = np.repeat(np.arange(len(trip_id)), pieces)
        piece = np.arange(len(of_trip)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        start = piece * limit
        length = np.minimum(spec.trace_len[of_trip] - start, limit)
        rows = dataset.rows(RowSpec(trip_id[of_trip], start, length)).to(self.device)
        tables = dataset.tables(self.device)
        batch = tables.batch(rows, dataset.time_mean, dataset.time_std)  # every candidate
        return self._forward(batch)[0][batch.candidate_mask].cpu().numpy()

    @torch.no_grad()
    def road_vectors(self) -> Tensor:
        return self.model.road_network_encoder.encode_roads().float()

    @torch.no_grad()
    def _forward(self, batch: Batch, with_hidden: bool = False) -> tuple[Tensor, ...]:
        with torch.autocast(self.device.type, enabled=False):
            return self.model(batch, self.tables, with_hidden=with_hidden)


def road_teacher(
    weights: str | Path | TeacherWeights,
    network: RoadNetwork,
    window: Window = "full",
    device: torch.device | str = "cpu",
    dtype: TeacherDtype = "auto",
) -> LMTADRoadTeacher:
    """A weights file as it describes itself: vocabulary, prefix, grid and bounds from the file."""
    from config.schema import DistillConfig

    teacher = LMTADTeacher(weights, device, dtype)
    stored = teacher.dataset_config
    distill = DistillConfig(
        vocabulary=teacher.vocabulary,
        destination_prefix=teacher.destination_prefix,
        window=window,
        grid_size=float(stored.get("grid_size") or 0.001),
        downsample=int(stored.get("downsample") or 1),
        verify_grid_dims=stored.get("grip_size") is not None,
    )
    return LMTADRoadTeacher.for_weights(teacher, distill, network)


def road_vocabulary(
    dataset_config: dict[str, object], network: RoadNetwork, source: str
) -> NDArray[np.int64]:
    """The identity, once it is clear that the teacher's roads are this network's."""
    num_roads = dataset_config.get("num_roads", network.num_roads)
    known = dataset_config.get("network", network.content_hash)
    if num_roads != network.num_roads or known != network.content_hash:
        raise UserError(
            f"{source} was trained on another road network ({num_roads} roads) than "
            f"{network.folder} ({network.num_roads} roads); a teacher whose tokens are roads "
            "serves only its own network."
        )
    return np.arange(network.num_roads, dtype=np.int64)


def _check_against_config(teacher: LMTADTeacher, distill: DistillConfig) -> None:
    for name, theirs, ours in (
        ("vocabulary", teacher.vocabulary, distill.vocabulary),
        ("destination_prefix", teacher.destination_prefix, distill.destination_prefix),
    ):
        if theirs != ours:
            raise UserError(
                f"distill.{name} is {ours!r}, but {teacher.source} was trained with {theirs!r}; "
                "change the configuration or choose another teacher."
            )


def _whole_trips(dataset: TripDataset, trip_id: NDArray[np.int64]) -> RowSpec:
    lengths = dataset.trace_lengths[trip_id].astype(np.int64)
    return RowSpec(trip_id, np.zeros(len(trip_id), dtype=np.int64), lengths)


def _whole_histories(batch: Batch, dataset: TripDataset | None) -> tuple[Tensor, Tensor | None]:
    """The roads to read, and where in them each row of the batch begins."""
    if dataset is None or dataset.max_len is None:
        return batch.trace_road_id, None
    if int(dataset.trace_lengths.max(initial=0)) <= dataset.max_len:
        return batch.trace_road_id, None
    first = batch.crop_start.cpu().numpy()
    if not first.any():
        return batch.trace_road_id, None
    length = first + batch.trace_len.cpu().numpy()
    spec = RowSpec(batch.trip_id.cpu().numpy(), np.zeros_like(first), length)
    roads = dataset.rows(spec).road_ids[:, :-1].to(batch.device)
    return roads, batch.crop_start
