"""Where a run's files lie: `<save_dir>/<dataset>/seed<N>[_distill]/`, locked while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from config.schema import Config
from runtime.files import move_aside
from runtime.logs import get_logger
from runtime.names import safe_name

logger = get_logger("train")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run."""

    path: Path

    @classmethod
    def of(cls, config: Config) -> RunFolder:
        """The folder that dataset, seed and mode decide."""
        name = f"seed{config.training.seed}" + ("_distill" if config.distilling else "")
        return cls(Path(config.save_dir) / safe_name(config.dataset, "dataset") / name)

    @property
    def best(self) -> Path:
        """The student of the best epoch."""
        return self.path / "best.pth"

    @property
    def latest(self) -> Path:
        """The newest state, from which the run goes on."""
        return self.path / "checkpoint_latest.pth"

    def of_stage(self, stage: int) -> Path:
        """The student at the end of a stage of the temperature, from 1."""
        return self.path / "stages" / f"stage{stage}.pth"

    @property
    def replay(self) -> Path:
        """The replayed trips of the epoch that is under way, and their times."""
        return self.path / "replay.npz"

    @property
    def metrics(self) -> Path:
        """Every epoch's figures."""
        return self.path / "metrics.json"

    @property
    def config(self) -> Path:
        """The resolved configuration."""
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        """The text log."""
        return self.path / "train.log"

    @property
    def tensorboard(self) -> Path:
        """The folder of event files."""
        return self.path / "tensorboard_log"

    @property
    def has_results(self) -> bool:
        """Whether there is a student or its figures, of whoever put them there."""
        return self.best.exists() or self.metrics.exists()

    @property
    def results(self) -> tuple[Path, ...]:
        """What a run writes and replaces while it goes on."""
        return self.best, self.latest, self.metrics, self.config, self.replay

    def set_aside(self) -> None:
        """Moves an earlier run's folder away under a new name; nothing is deleted."""
        if not self.path.exists():
            return
        logger.info("The earlier run was moved to %s.", move_aside(self.path))
