"""A sense of the way: what each road costs beyond the cheapest way to the destination.

LM-TAD knows destinations by name, as words of its vocabulary: which of two roads leads there sooner
it knows only where trips have shown it. The map says so everywhere. So a teacher may carry, beside
its weights, how long a car usually is on each road and what drivers pay for a km and for a minute
in vain; its opinion of a candidate is then its own, bent by that. What drivers pay is found by
`way_fitting`; nothing of it is needed once a student has been taught.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.road_network import RoadNetwork
from data.road_times import cost_in_vain, step_costs
from runtime.errors import UserError
from runtime.files import sha256_of_arrays
from ways.bending import KnownWay
from ways.charges import MOST_NATS, charges_along

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class WaySense:
    """What a weights file says of it. The teacher's logits are multiplied by `sharpness`."""

    road_seconds: Tensor  # [R], how long a car usually is on each road
    sharpness: float
    per_km: float  # nats
    per_minute: float  # nats

    def to_plain(self) -> dict[str, Any]:
        """Plain values, as a weights file holds them."""
        numbers = {name: getattr(self, name) for name in ("sharpness", "per_km", "per_minute")}
        return {"road_seconds": self.road_seconds.detach().cpu().float().clone(), **numbers}

    @classmethod
    def from_plain(cls, values: object, source: str) -> WaySense:
        """What a weights file holds; anything else is a `UserError`."""
        try:
            found = cls(**values)  # type: ignore[arg-type]
            seconds = found.road_seconds
            numbers = [found.sharpness, found.per_km, found.per_minute]
            usable = seconds.ndim == 1 and bool((torch.isfinite(seconds) & (seconds >= 0)).all())
            usable = usable and all(isinstance(n, float) and 0 <= n < np.inf for n in numbers)
        except (TypeError, AttributeError):
            usable = False
        if not usable:
            raise UserError(
                f"{source}: its sense of the way is damaged; find it anew with tools/fit_way.py."
            )
        return replace(found, road_seconds=seconds.float())


class Way:
    """A sense of the way on its road network."""

    def __init__(
        self, sense: WaySense, network: RoadNetwork, device: torch.device | str = "cpu"
    ) -> None:
        if len(sense.road_seconds) != network.num_roads:
            raise UserError(
                f"The teacher's sense of the way is of {len(sense.road_seconds)} roads, but "
                f"{network.folder} has {network.num_roads}; find it anew with tools/fit_way.py."
            )
        self.sense, self.network, self.device = sense, network, torch.device(device)
        seconds = sense.road_seconds.double().numpy()
        self.road_cost = cost_in_vain(network.length_m, sense.per_km, seconds, sense.per_minute)
        steps = step_costs(self.road_cost, network.reach_offsets, network.reach_targets)
        self._known = KnownWay(network, steps, sense.sharpness)

    def identity(self) -> str:
        """A hash of what decides it, beside the road network."""
        return sha256_of_arrays(self.road_cost, np.array([self.sense.sharpness]))

    def bend_along(self, logits: Tensor, road_ids: NDArray[np.int32], offsets: IntArray) -> Tensor:
        """An opinion [M] of all candidates of trips laid end to end, with what they cost."""
        charges = self.charges_along(road_ids, offsets)
        return self.sense.sharpness * logits + charges.to(logits.dtype)

    def charges_along(self, road_ids: NDArray[np.int32], offsets: IntArray) -> Tensor:
        """Of all candidates of all positions of trips laid end to end, to their last roads. [M]"""
        charges = charges_along(self.network, self._known.step_cost, road_ids, offsets)
        return torch.from_numpy(charges)

    def ahead(self, destination: Tensor) -> WaysAhead:
        """For trips under way to destinations [N]."""
        places, row = np.unique(destination.cpu().numpy(), return_inverse=True)
        return WaysAhead(
            torch.from_numpy(self._known.left(places)).to(self.device),
            torch.from_numpy(row.reshape(-1)).to(self.device),
            torch.from_numpy(self.road_cost).float().to(self.device),
            self.sense.sharpness,
        )


class WaysAhead:
    """Trips under way: what the roads that can come next cost them."""

    def __init__(self, left: Tensor, row: Tensor, road_cost: Tensor, sharpness: float) -> None:
        self._left = left  # [D, R], of each destination
        self._row = row  # int64 [N]
        self._road_cost = road_cost  # [R]
        self._sharpness = sharpness

    def bend(self, logits: Tensor, road: Tensor, candidate: Tensor) -> Tensor:
        """An opinion of `candidate` [N, …, C], from the roads [N, …] that the trips are on.

        Where it is minus infinity it stays so.
        """
        row = self._row.view(-1, *([1] * (road.ndim - 1)))
        left, cost = self._left[row, road], self._road_cost[road]
        after = self._left[row.unsqueeze(-1), candidate]
        parts = left.unsqueeze(-1), cost.unsqueeze(-1), after, self._road_cost[candidate]
        bent = self._sharpness * logits + _charge(*parts).to(logits.dtype)
        return torch.where(logits == -torch.inf, logits, bent)  # 0 times infinity is no number

    def keep(self, rows: Tensor) -> None:
        """Goes on with these trips alone."""
        self._row = self._row[rows]


def _charge(left: Tensor, cost: Tensor, after: Tensor, cost_after: Tensor) -> Tensor:
    """What a step to a road is worth less than it costs, at most 0. All alike in shape.

    `left` and `after` are the ways left from where the trip is and from the candidate.
    """
    worth = left - after - 0.5 * (cost + cost_after)
    known = torch.isfinite(left)  # where no way is known, none is better than another
    return torch.where(known, worth.clamp(min=-MOST_NATS, max=0.0), 0.0)
