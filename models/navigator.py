"""Scores candidate roads and predicts the travel time to each.

Both formulas are sums of a part per position, a part per road and a part per pair, so each is
multiplied out once where it belongs: roads in `RoadTables`, positions once, pairs on two numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Navigator(nn.Module):
    """logits = v . tanh(query + key), time = L3(gelu([L1(trajectory), L2(road)]))."""

    def __init__(self, road_width: int, zone_width: int, trip_width: int, hidden_dim: int) -> None:
        super().__init__()
        self.trip_width, self.road_width = trip_width, road_width
        self.metric_distance_proj = nn.Linear(1, hidden_dim)
        self.metric_angle_proj = nn.Linear(1, hidden_dim)
        self.q_proj = nn.Linear(trip_width + zone_width, hidden_dim, bias=False)
        self.k_proj = nn.Linear(road_width + 2 * hidden_dim, hidden_dim, bias=False)
        self.v_proj = nn.Linear(hidden_dim, 1, bias=False)
        self.time_estimator_linear_1 = nn.Linear(trip_width, hidden_dim // 2)
        self.time_estimator_linear_2 = nn.Linear(road_width, hidden_dim // 2)
        self.time_estimator_linear_3 = nn.Linear(2 * (hidden_dim // 2), 1)

    def road_key(self, road: Tensor) -> Tensor:
        """[n, h]: the roads' part of the key, with the constant that the metrics' biases add."""
        of_road, of_distance, of_angle = self._key_weights()
        constant = of_distance @ self.metric_distance_proj.bias
        constant = constant + of_angle @ self.metric_angle_proj.bias
        return F.linear(road, of_road, constant.to(of_road.dtype))

    def road_time(self, road: Tensor) -> Tensor:
        """[n, 1]: the roads' part of the travel time."""
        half = F.gelu(self.time_estimator_linear_2(road))
        weight = self.time_estimator_linear_3.weight[:, self.time_estimator_linear_1.out_features :]
        return F.linear(half, weight)

    def zone_query(self, zone: Tensor) -> Tensor:
        """[Z, h]: the destination zones' part of the query."""
        return F.linear(zone, self.q_proj.weight[:, self.trip_width :])

    def trip_query(self, hidden: Tensor) -> Tensor:
        """[..., h]: the trajectory's part of the query."""
        return F.linear(hidden, self.q_proj.weight[:, : self.trip_width])

    def trip_time(self, hidden: Tensor) -> Tensor:
        """[..., 1]: the trajectory's part of the travel time."""
        half = F.gelu(self.time_estimator_linear_1(hidden))
        weight = self.time_estimator_linear_3.weight[:, : self.time_estimator_linear_1.out_features]
        return F.linear(half, weight, self.time_estimator_linear_3.bias)

    def logits(self, query_key: Tensor, metric_dis: Tensor, metric_angle: Tensor) -> Tensor:
        """query_key: [..., h], the sum of both parts; metrics [...]. Result [...]."""
        _, of_distance, of_angle = self._key_weights()
        directions = torch.cat(
            [
                of_distance @ self.metric_distance_proj.weight,
                of_angle @ self.metric_angle_proj.weight,
            ],
            dim=1,
        )  # [h, 2]
        metrics = torch.stack([metric_dis, metric_angle], dim=-1).to(query_key.dtype)
        mixed = query_key + F.linear(metrics, directions.to(query_key.dtype))
        return self.v_proj(mixed.tanh()).squeeze(-1)

    def _key_weights(self) -> tuple[Tensor, Tensor, Tensor]:
        weight = self.k_proj.weight
        hidden_dim = weight.shape[0]
        of_road, of_distance, of_angle = weight.split(
            [self.road_width, hidden_dim, hidden_dim], dim=1
        )
        return of_road, of_distance, of_angle
