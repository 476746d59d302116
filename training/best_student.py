"""What the best student of a finished run is given besides its weights: calibrated logits, how its
travel times spread, and how often it saw each turn. Training itself is `training.run`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from config import Config
from hoser import HOSER
from models.checkpoint import add_to_student_file, read_student_file
from runtime.errors import UserError
from runtime.logs import get_logger
from times.store import add_to_checkpoint, fit_student
from training.calibration import calibrate
from training.checkpoint import calibrated_at
from training.folder import RunFolder
from training.resources import Resources

logger = get_logger("train")

FloatArray = NDArray[np.float64]


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

    @property
    def knows_turns(self) -> bool:
        """Whether the file says how often each turn was seen."""
        return read_student_file(self.folder.best).turn_counts is not None

    def keep_turn_counts(self, counts: FloatArray | None) -> None:
        """Writes how often the run saw each turn [E] into the file, for `gene.py --costs fitted`.

        What the teacher drove was seen as well, and is not in the dataset.
        """
        if counts is not None:
            value = torch.from_numpy(counts).float()
            add_to_student_file(self.folder.best, "turn_counts", value, self.folder.best)

    def _load(self) -> HOSER:
        return HOSER.load(self.folder.best, self.config, self.resources.network).to(self.device)
