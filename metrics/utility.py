"""What students learn from generated trips, beside what as many real ones teach them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

ARMS = ("real", "synthetic", "mixture")
MEASURED = {
    "next_step_acc": ("Next-road accuracy", "higher"),
    "next_step_nll": ("Negative log-likelihood", "lower"),
    "time_pred_mape_seconds": ("Travel-time MAPE (seconds)", "lower"),
}
Figures = dict[str, float]


@dataclass(frozen=True)
class Utility:
    """What students learned from equally many trips; figures by what they were trained on."""

    num_trips: int
    on_real: dict[str, Figures]  # tested on real test trips
    real_on_synthetic: Figures  # trained on real trips, tested on synthetic ones

    def ratio(self, arm: str, measure: str) -> float | None:
        """How good an arm is beside the real one; 1 is as good, more is better."""
        real, other = self.on_real["real"][measure], self.on_real[arm][measure]
        if MEASURED[measure][1] == "lower":
            real, other = other, real
        return other / real if real else None

    def to_json(self) -> dict[str, Any]:
        """The figures and ratios as plain data."""
        ratios = {arm: {name: self.ratio(arm, name) for name in MEASURED} for arm in ARMS[1:]}
        return {**self.__dict__, "ratios": ratios}
