"""What the best student of a finished run is given besides its weights: calibrated logits, and how
its travel times spread. Training itself is `training.run`; both are measured on validation trips.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from config import Config
from hoser import HOSER
from models.checkpoint import read_student_file
from runtime.errors import UserError
from runtime.logs import get_logger
from times.store import add_to_checkpoint, fit_student
from training.calibration import calibrate
from training.checkpoint import calibrated_at
from training.folder import RunFolder
from training.resources import Resources

logger = get_logger("train")


@dataclass(frozen=True)
class BestStudent:
    """The file of a run's best student, and what it is measured with."""

    config: Config
    folder: RunFolder
    resources: Resources
    device: torch.device

    def calibrated(self) -> tuple[HOSER, float]:
        """The student as sure of itself as it is right (a teacher softens it), not yet written.

        Also the temperature that does it: that of the file, where a run was killed after writing.
        """
        student = self._load()
        temperature = calibrated_at(self.folder.best)
        if temperature is None:
            batch_size = self.config.optimizer_config.batch_size
            temperature = calibrate(student, self.resources.val, self.device, batch_size)
        return student, temperature

    @property
    def knows_spread(self) -> bool:
        """Whether the file says how travel times spread."""
        return read_student_file(self.folder.best).travel_times is not None

    def fit_travel_times(self) -> dict[str, Any] | None:
        """Writes how travel times spread into the file, for `gene.py` to draw them: how well.

        None where there is too little to do it with.
        """
        best = self.folder.best
        try:
            data = self.resources
            distribution, quality = fit_student(
                self._load(), data.val, lambda: data.train, self.device
            )
        except UserError as error:
            logger.warning("Travel times cannot be drawn. %s", error)
            return None
        add_to_checkpoint(best, distribution, best)
        return asdict(quality)

    def _load(self) -> HOSER:
        return HOSER.load(self.folder.best, self.config, self.resources.network).to(self.device)
