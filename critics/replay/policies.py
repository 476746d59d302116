"""Who drives: scores the roads that can come next for many trips that grow together.

A policy is asked for logits, told what was chosen, and told which trips go on. Where trips end
and which are kept is `driving`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from config.choices import Window
from critics.lmtad import LMTAD
from critics.lmtad_decoder import LMTADDecoder
from critics.road_teacher import LMTADRoadTeacher
from critics.teachers import mean_opinion
from critics.way import WaysAhead
from data.features import FeatureTables, temporal_info

if TYPE_CHECKING:
    from hoser import HOSER
    from models.incremental import TripDecoder
    from models.road_tables import RoadTables

LONGEST_LOG_WAIT = 8.2  # log(1 + an hour) of seconds on one road


class Policy(Protocol):
    """N partial trips, asked step by step."""

    device: torch.device

    @property
    def max_steps(self) -> int:
        """How many roads a trip may have."""
        ...

    def begin(self, origin: Tensor, destination: Tensor, start: Tensor) -> None:
        """New trips: each int64 [N]."""
        ...

    def logits(self, candidate: Tensor, count: Tensor) -> Tensor:
        """Of the candidates [N, C], `count` [N] of them real; minus infinity past them."""
        ...

    def advance(self, road: Tensor, column: Tensor) -> None:
        """Each trip drives on to `road` [N], the candidate in `column` [N]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Goes on with these trips alone."""
        ...


class WindowReader:
    """The hidden states of growing sequences, whose whole window is read anew at each step."""

    def __init__(self, model: LMTAD, window: Window, prefix_length: int) -> None:
        self.model = model
        room = model.config.block_size - prefix_length
        self.width = room if window == "full" else min(window, room)
        self.prefix_length = prefix_length
        self.tokens = torch.empty(0, 0, dtype=torch.long)

    @torch.no_grad()
    def read(self, tokens: Tensor) -> Tensor:  # int64 [N, L] -> [N, E]
        self.tokens = tokens if not self.tokens.numel() else torch.cat([self.tokens, tokens], 1)
        spare = self.tokens.shape[1] - self.prefix_length - self.width
        if spare > 0:
            prefix, roads = self.tokens.split(
                [self.prefix_length, self.tokens.shape[1] - self.prefix_length], dim=1
            )
            self.tokens = torch.cat([prefix, roads[:, spare:]], dim=1)
        return self.model.hidden(self.tokens)[:, -1]

    def keep(self, rows: Tensor) -> None:
        self.tokens = self.tokens[rows]


class LMTADPolicy:
    """The teacher drives; it must have been told destinations, or it would never arrive.

    `cached` False reads the whole prefix at every step, which is what the cache is measured by.
    """

    def __init__(self, teacher: LMTADRoadTeacher, cached: bool = True) -> None:
        self.teacher = teacher
        self.device = teacher.device
        self.cached = cached and teacher.window == "full"
        self.prefix_length = 2 if teacher.teacher.destination_prefix else 1
        self.reader: LMTADDecoder | WindowReader
        self.hidden: Tensor
        self.road: Tensor  # int64 [N], the last one
        self.ahead: WaysAhead | None = None

    @property
    def max_steps(self) -> int:
        if self.teacher.window != "full":
            return 1 << 30
        return self.teacher.teacher.config.block_size - self.prefix_length

    def begin(self, origin: Tensor, destination: Tensor, start: Tensor) -> None:
        model, table = self.teacher.teacher.model, self.teacher.road_to_token
        if self.cached:
            self.reader = LMTADDecoder(model)
        else:
            self.reader = WindowReader(model, self.teacher.window, self.prefix_length)
        tokens = [torch.full_like(origin, self.teacher.teacher.sot_id), table[origin]]
        if self.prefix_length == 2:
            tokens.insert(1, table[destination])
        self.hidden = self.reader.read(torch.stack(tokens, dim=1))
        self.road = origin
        way = self.teacher.way
        self.ahead = way.ahead(destination) if way is not None else None

    def logits(self, candidate: Tensor, count: Tensor) -> Tensor:
        real = torch.arange(candidate.shape[1], device=self.device) < count.unsqueeze(1)
        owner = real.nonzero(as_tuple=True)[0]
        token = self.teacher.road_to_token[candidate[real]]
        result = torch.full(candidate.shape, -torch.inf, device=self.device)
        result[real] = self.teacher.teacher.model.token_logits(self.hidden[owner], token)
        return result if self.ahead is None else self.ahead.bend(result, self.road, candidate)

    def advance(self, road: Tensor, column: Tensor) -> None:
        self.road = road
        self.hidden = self.reader.read(self.teacher.road_to_token[road].unsqueeze(1))

    def keep(self, rows: Tensor) -> None:
        self.reader.keep(rows)
        self.hidden, self.road = self.hidden[rows], self.road[rows]
        if self.ahead is not None:
            self.ahead.keep(rows)


class JointPolicy:
    """Several drive one trip, each of them at every step, by the mean of what they believe."""

    def __init__(self, members: Sequence[Policy]) -> None:
        self.members = tuple(members)
        self.device = self.members[0].device

    @property
    def max_steps(self) -> int:
        return min(member.max_steps for member in self.members)

    def begin(self, origin: Tensor, destination: Tensor, start: Tensor) -> None:
        for member in self.members:
            member.begin(origin, destination, start)

    def logits(self, candidate: Tensor, count: Tensor) -> Tensor:
        return mean_opinion([member.logits(candidate, count) for member in self.members])

    def advance(self, road: Tensor, column: Tensor) -> None:
        for member in self.members:
            member.advance(road, column)

    def keep(self, rows: Tensor) -> None:
        for member in self.members:
            member.keep(rows)


class StudentPolicy:
    """A HOSER drives, by its own predicted travel times."""

    def __init__(
        self,
        model: HOSER,
        features: FeatureTables,
        time_statistics: tuple[float, float],
        tables: RoadTables | None = None,
    ) -> None:
        self.model = model
        self.features = features
        self.device = features.device
        self.mean, self.std = time_statistics
        with torch.no_grad():
            self.tables = tables if tables is not None else model.encode_roads()
        self.decoder: TripDecoder
        self.nodes: Tensor  # int64 [N], in the decoder
        self.road: Tensor  # int64 [N], the last one
        self.hidden: Tensor  # [N, 2 d]
        self.time_pred: Tensor  # [N, C], normalised

    @property
    def max_steps(self) -> int:
        return self.model.trajectory_encoder.max_len

    def begin(self, origin: Tensor, destination: Tensor, start: Tensor) -> None:
        self.decoder = self.model.start(self.tables)
        self.nodes = torch.full_like(origin, -1)
        self.destination, self.start = destination, start
        self.seconds = start.double()
        self._encode(origin)

    @torch.no_grad()
    def logits(self, candidate: Tensor, count: Tensor) -> Tensor:
        found = self.features.candidates(self.road, self.destination, candidate.shape[1])
        logits, self.time_pred = self.model.next_road_scores(
            self.hidden,
            self.tables,
            self.destination,
            found.road_id,
            found.metric_dis,
            found.metric_angle,
        )
        real = torch.arange(candidate.shape[1], device=self.device) < count.unsqueeze(1)
        return torch.where(real, logits, -torch.inf)

    def advance(self, road: Tensor, column: Tensor) -> None:
        predicted = self.time_pred.gather(1, column.unsqueeze(1)).squeeze(1).double()
        waited = torch.expm1((predicted * self.std + self.mean).clamp(max=LONGEST_LOG_WAIT))
        self.seconds = self.seconds + waited.clamp(min=0)
        self._encode(road)

    def keep(self, rows: Tensor) -> None:
        self.nodes, self.hidden, self.road = self.nodes[rows], self.hidden[rows], self.road[rows]
        self.destination, self.start = self.destination[rows], self.start[rows]
        self.seconds, self.time_pred = self.seconds[rows], self.time_pred[rows]
        self.decoder.keep(self.nodes)

    def _encode(self, road: Tensor) -> None:
        info = temporal_info(self.seconds.round().long().unsqueeze(1), self.start).squeeze(1)
        self.road = road
        self.nodes, self.hidden = self.decoder.encode_step(self.nodes, road, info)
