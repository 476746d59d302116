"""Which of train, val and test each trip goes to, without holding all trips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.match.results import PieceFile
from data.match.settings import MatchSettings

_EXACT_TRIPS = 4_000_000
"""Beyond so many trips the borders come from a part of them: a hundredth of a percent off."""


@dataclass(frozen=True)
class Splitter:
    """Puts each trip by one number of its own (its start, its vehicle's place, or chance)."""

    settings: MatchSettings
    place_of_vehicle: NDArray[np.float64]
    borders: tuple[float, float]

    @classmethod
    def of(cls, parts: list[PieceFile], num_vehicles: int, settings: MatchSettings) -> Splitter:
        """Looks at all trips once, to find the borders between the three."""
        rng = np.random.default_rng([settings.seed, num_vehicles])
        places = rng.permutation(num_vehicles).astype(np.float64)
        unfinished = cls(settings, places, (0.0, 0.0))
        numbers: list[NDArray[np.float64]] = []
        held, step = 0, 1
        for part in parts:
            numbers.append(unfinished._numbers(part)[::step])
            held += len(numbers[-1])
            if held > _EXACT_TRIPS:
                numbers = [np.concatenate(numbers)[::2]]
                held, step = len(numbers[0]), 2 * step
        ordered = np.sort(np.concatenate(numbers)) if numbers else np.empty(0)
        train, val, _ = settings.shares
        first, second = (round(len(ordered) * share) for share in (train, min(train + val, 1.0)))
        ends = np.append(ordered, np.inf)
        return cls(settings, places, (float(ends[first]), float(ends[second])))

    def split(self, part: PieceFile) -> NDArray[np.int8]:
        """0, 1 or 2 (train, val, test) for each trip of a piece."""
        return np.searchsorted(np.array(self.borders), self._numbers(part), side="right").astype(
            np.int8
        )

    def _numbers(self, part: PieceFile) -> NDArray[np.float64]:
        with part.open() as arrays:
            vehicle = arrays["vehicle"]
            if self.settings.split == "vehicle":
                return self.place_of_vehicle[vehicle]
            if self.settings.split == "time":
                first = arrays["offsets"][:-1]
                return arrays["entry_s"][first].astype(np.float64)
            return np.random.default_rng([self.settings.seed, part.piece]).random(len(vehicle))
