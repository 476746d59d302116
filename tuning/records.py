"""A trial as the rest of the study sees it: plain data, read from and written to the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Mode = Literal["vanilla", "distilled"]
State = Literal["waiting", "running", "complete", "pruned", "failed"]
STATES: dict[str, State] = {
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}
SUMMARY_NAME = "study_summary.json"
WORKER_DIED = "the worker died"


@dataclass(frozen=True)
class TrialRecord:
    """One trial. `values` follow the study's objectives, `metrics` are the best epoch's."""

    number: int
    mode: Mode
    state: State
    seed: int
    params: dict[str, Any] = field(default_factory=dict)
    values: list[float] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    wall_seconds: float = 0.0
    batches_per_second: float | None = None
    latency_ms: float | None = None
    folder: str | None = None
    failure: str | None = None
    retry_of: int | None = None
    retries: int = 0

    @property
    def accuracy(self) -> float | None:
        """The best epoch's validation accuracy."""
        value = self.metrics.get("val_next_step_acc")
        return float(value) if value is not None else None

    @property
    def ended(self) -> bool:
        """Whether the trial's accuracy stands: complete or pruned."""
        return self.state in ("complete", "pruned")

    @classmethod
    def of(cls, trial: FrozenTrial, base_seed: int) -> TrialRecord:
        """Reads a trial of a study of ours."""
        attributes = trial.user_attrs
        names = ("metrics", "batches_per_second", "latency_ms", "folder", "failure", "retry_of")
        known = {name: attributes[name] for name in names if name in attributes}
        return cls(
            number=trial.number,
            mode=mode_of(trial.number, attributes),
            state=STATES[trial.state.name],
            seed=int(attributes.get("seed", base_seed + trial.number)),
            params=dict(trial.params),
            values=list(trial.values or []),
            epochs=max(trial.intermediate_values, default=attributes.get("epochs", 0)),
            wall_seconds=float(attributes.get("wall_seconds", 0.0)),
            retries=int(attributes.get("retries", 0)),
            **known,
        )


def mode_of(number: int, attributes: dict[str, Any]) -> Mode:
    """Trial 0 is vanilla, and so is a second try at it; all others are distilled."""
    default: Mode = "vanilla" if number == 0 else "distilled"
    return attributes.get("mode", default)
