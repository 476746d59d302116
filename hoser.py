"""HOSER, the student: scores every candidate next road of a trip and predicts its travel time.

Assembled from `models/`. Parameters and persistent buffers are named as in the original, so its
checkpoints load here and (through `tools.export_hoser`) ours load there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from data.features import unit_vectors
from models.checkpoint import (
    IGNORED,
    check_student_file,
    read_student_file,
    without_spare_zones,
)
from models.incremental import TripDecoder
from models.navigator import Navigator
from models.packing import Packing, pack
from models.road_network_encoder import RoadNetworkEncoder
from models.road_tables import RoadTables
from models.trajectory_encoder import TrajectoryEncoder
from runtime.device import prefers_loops

if TYPE_CHECKING:
    from collections.abc import Sequence

    from config.schema import Config
    from data.batch import Batch
    from data.road_network import RoadNetwork


# Measured (7,000 roads, forward and backward): below this share of all roads, cutting out those a
# batch touches pays for itself; with most roads touched both ways take the same time.
_LARGEST_SUBSET = 0.85


class HOSER(nn.Module):
    """`logits, time_pred = model(batch)`, each [B, T, C], float32, finite everywhere.

    `tables` (from `encode_roads`) may be given where several batches share one set of parameters:
    accumulation, validation, generation.
    """

    road2zone: Tensor

    def __init__(self, config: Config, network: RoadNetwork) -> None:
        super().__init__()
        self.road_network_encoder = RoadNetworkEncoder(config.road_network_encoder_config, network)
        self.trajectory_encoder = TrajectoryEncoder(config.trajectory_encoder_config)
        width = self.road_network_encoder.width
        self.navigator = Navigator(
            road_width=width,
            zone_width=width,
            trip_width=self.trajectory_encoder.hidden_dim,
            hidden_dim=config.navigator_config.hidden_dim,
        )
        # Plain array, not a buffer: a model moved to half precision keeps the roads' places exact.
        self.road_centers = unit_vectors(network.center_lon, network.center_lat)  # float64 [R, 3]
        assert network.zones is not None
        self.register_buffer("road2zone", torch.from_numpy(np.array(network.zones.road2zone)))

    @classmethod
    def load(cls, path: str | Path, config: Config, network: RoadNetwork) -> HOSER:
        """A student from a file of the original or of ours, checked against the road network."""
        model = cls(config, network)
        file = without_spare_zones(read_student_file(path), model.road_network_encoder.num_zones)
        check_student_file(file, model.state_dict(), config.trajectory_encoder_config.max_len, path)
        model.load_state_dict({k: v for k, v in file.state.items() if not IGNORED.fullmatch(k)})
        return model

    def forward(
        self, batch: Batch, tables: RoadTables | None = None, *, with_hidden: bool = False
    ) -> tuple[Tensor, ...]:
        """(logits, time_pred), or with_hidden (logits, time_pred, hidden [B, T, 2 d])."""
        if tables is None:
            tables = self.encode_roads(self.roads_worth_encoding([batch]))
        packing = self._packing(batch)
        hidden = self.encode_trips(batch, tables, packing)
        if packing is None:
            logits, time_pred = self._score_padded(hidden, batch, tables)
        else:
            logits, time_pred = self._score_packed(hidden, batch, tables, packing)
        if not with_hidden:
            return logits.float(), time_pred.float()
        if packing is not None:
            hidden = packing.unpack_positions(hidden)
        return logits.float(), time_pred.float(), hidden

    def encode_roads(self, roads: Tensor | None = None) -> RoadTables:
        """Tables of all roads, or of the given ones alone (sorted road ids on the CPU)."""
        encoder = self.road_network_encoder
        zone = encoder.encode_zones()
        row_of_road = None
        if roads is None:
            road, zone_of_road = encoder.encode_roads(), self.road2zone
        else:
            road = encoder.encode_roads(encoder.subset_for(roads))
            zone_of_road = self.road2zone[roads]
            row_of_road = self.road2zone.new_full((encoder.num_roads,), -1)
            row_of_road[roads] = torch.arange(len(roads))
        spatial = self.trajectory_encoder.fuse_zone(road, F.embedding(zone_of_road, zone))
        return RoadTables(
            spatial=spatial,
            # Not in autocast's half precision: gradients of many batches are summed at the tables.
            candidate_key=self.navigator.road_key(road).to(spatial.dtype),
            candidate_time=self.navigator.road_time(road).to(spatial.dtype),
            zone_query=self.navigator.zone_query(zone).to(spatial.dtype),
            row_of_road=row_of_road,
        )

    def start(self, tables: RoadTables | None = None) -> TripDecoder:
        """Incremental inference: partial trips that grow one road at a time, without gradients."""
        if tables is None:
            with torch.no_grad():
                tables = self.encode_roads()
        centers = torch.from_numpy(self.road_centers).to(self.road2zone.device)
        return TripDecoder(self.trajectory_encoder, tables, centers)

    def next_road_scores(
        self,
        hidden: Tensor,  # [N, 2 d]
        tables: RoadTables,
        destination_road_id: Tensor,  # int64 [N]
        candidate_road_id: Tensor,  # int64 [N, C]
        metric_dis: Tensor,  # [N, C]
        metric_angle: Tensor,  # [N, C]
    ) -> tuple[Tensor, Tensor]:
        """Logits and normalised travel times, each [N, C] float32, of the last position of N trips.

        Columns past a row's number of candidates hold values without meaning.
        """
        query = self._query(hidden, destination_road_id, tables)
        rows = tables.rows(candidate_road_id)
        query_key = query.unsqueeze(1) + F.embedding(rows, tables.candidate_key).to(query.dtype)
        logits = self.navigator.logits(query_key, metric_dis, metric_angle)
        time_pred = F.embedding(rows, tables.candidate_time).squeeze(-1)
        return logits.float(), (self.navigator.trip_time(hidden) + time_pred).float()

    def roads_worth_encoding(self, batches: Sequence[Batch]) -> Tensor | None:
        """The roads that these batches touch where encoding only them is faster, else None."""
        if not prefers_loops(self.road2zone.device) or torch.compiler.is_compiling():
            return None
        touched = torch.zeros(self.road_network_encoder.num_roads, dtype=torch.bool)
        for batch in batches:
            touched[batch.trace_road_id.flatten()] = True
            touched[batch.candidate_road_id.flatten()] = True
        roads = touched.nonzero().squeeze(1)
        return roads if len(roads) < _LARGEST_SUBSET * len(touched) else None

    def encode_trips(self, batch: Batch, tables: RoadTables, packing: Packing | None) -> Tensor:
        """The trajectory embedding of each position: [P, 2 d] when packed, else [B, T, 2 d]."""
        roads, temporal_info = batch.trace_road_id, batch.temporal_info
        if packing is not None:
            roads = packing.pack_positions(roads)
            temporal_info = packing.pack_positions(temporal_info)
        spatial = F.embedding(tables.rows(roads), tables.spatial)
        x = self.trajectory_encoder.embed(spatial, temporal_info)
        distance, interval = batch.trace_distance_mat, batch.trace_time_interval_mat
        return self.trajectory_encoder(x, distance, interval, packing)

    def _packing(self, batch: Batch) -> Packing | None:
        """On a CPU padding costs time; elsewhere fixed shapes are worth more."""
        if not prefers_loops(batch.trace_len.device) or torch.compiler.is_compiling():
            return None
        return pack(batch.trace_len, batch.candidate_len, batch.candidate_road_id.shape[2])

    def _score_padded(
        self, hidden: Tensor, batch: Batch, tables: RoadTables
    ) -> tuple[Tensor, Tensor]:
        query = self._query(hidden, batch.destination_road_id.unsqueeze(1), tables)  # [B, T, h]
        rows = tables.rows(batch.candidate_road_id)
        query_key = query.unsqueeze(2) + F.embedding(rows, tables.candidate_key).to(query.dtype)
        logits = self.navigator.logits(query_key, batch.metric_dis, batch.metric_angle)
        time_pred = F.embedding(rows, tables.candidate_time).squeeze(-1)
        return logits, self.navigator.trip_time(hidden) + time_pred

    def _score_packed(
        self, hidden: Tensor, batch: Batch, tables: RoadTables, packing: Packing
    ) -> tuple[Tensor, Tensor]:
        trip = packing.position // packing.num_steps  # [P]
        destination = batch.destination_road_id[trip]
        query = self._query(hidden, destination, tables)
        logits, time_pred = self.score_candidates(
            query,
            self.navigator.trip_time(hidden),
            tables,
            candidate_road_id=packing.pack_candidates(batch.candidate_road_id),
            owner=packing.candidate_owner,
            metric_dis=packing.pack_candidates(batch.metric_dis),
            metric_angle=packing.pack_candidates(batch.metric_angle),
        )
        return packing.unpack_candidates(logits), packing.unpack_candidates(time_pred)

    def score_candidates(
        self,
        query: Tensor,  # [P, h]
        trip_time: Tensor,  # [P, 1]
        tables: RoadTables,
        *,
        candidate_road_id: Tensor,  # int64 [M]
        owner: Tensor,  # int64 [M]: the position in P whose candidate this is
        metric_dis: Tensor,  # [M]
        metric_angle: Tensor,  # [M]
    ) -> tuple[Tensor, Tensor]:
        """Logits and travel times [M] of a flat list of candidates."""
        rows = tables.rows(candidate_road_id)
        key = F.embedding(rows, tables.candidate_key)
        query_key = F.embedding(owner, query) + key.to(query.dtype)
        logits = self.navigator.logits(query_key, metric_dis, metric_angle)
        time_pred = F.embedding(owner, trip_time) + F.embedding(rows, tables.candidate_time)
        return logits, time_pred.squeeze(-1)

    def _query(self, hidden: Tensor, destination_road_id: Tensor, tables: RoadTables) -> Tensor:
        """[..., h]; the destinations broadcast against the positions of `hidden` [..., 2 d]."""
        of_trip = self.navigator.trip_query(hidden)
        of_zone = F.embedding(self.road2zone[destination_road_id], tables.zone_query)
        return of_trip + of_zone.to(of_trip.dtype)
