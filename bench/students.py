"""A student of a study: which trips it sees, who teaches it, what its choices and drives are worth.

Which students a study has, and what they are compared with, is the studies' business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from config import Config, load_config
from config.generation import SearchName, SearchSettings
from critics.road_teacher import HOSERRoadTeacher
from critics.teacher_report import measure_opinion
from data.choices import Choices
from data.laid_out import here_and_taken
from gene import generate
from hoser import HOSER
from metrics.assessment import assess
from metrics.generated import read_generated
from metrics.reference import Reference
from runtime.device import resolve_device
from search.student import open_city
from training.calibration import calibrate
from training.resources import ResourcePool, load_split
from training.validation import validate
from ways.bending import WeighedOpinion

DEMO = Path(__file__).parent.parent / "config" / "demo.yaml"


@dataclass(frozen=True)
class Run:
    """A student to train: which trips it sees, who teaches it, and how; or one that is there
    already, `of`, to be driven with another search."""

    variant: str
    size: int | None  # training trips, None for all
    seed: int
    epochs: int
    settings: dict[str, Any] = field(default_factory=dict)  # of `distill`; empty is vanilla
    num_generated: int = 500  # trips for OD pairs of the test split
    search: SearchName = "beam"
    beam_width: int = 4
    of: str | None = None

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"{self.variant}_{size_name(self.size)}_seed{self.seed}"


def size_name(size: int | None) -> str:
    """A number of training trips in names and reports."""
    return str(size or "all")


@dataclass(frozen=True)
class Place:
    """Where a study's students live, and what is the same for all of them."""

    city: Path
    save: Path
    num_zones: int
    device: str = "cpu"

    def config(self, run: Run) -> Config:
        """The demo's configuration on this city, with what the run changes."""
        changes = {
            "dataset": "gain",
            "data_dir": str(self.city),
            "save_dir": str(self.save),
            "data.max_train_trips": run.size,
            "data.num_zones": self.num_zones,
            "optimizer_config.max_epoch": run.epochs,
            "training.seed": run.seed,
            "training.device": self.device,
            "training.progress": False,
            "dataloader.num_workers": 0,
            "distill.enable": bool(run.settings),
            "distill.teacher_report": False,
            "distill.time_weight": 1.0,
            "distill.temperature_end": None,
            "distill.temperature_schedule": "constant",
            "distill.first_embeddings": "random",
            "distill.replay.trips": 0,
        }
        own = {f"distill.{name}": value for name, value in run.settings.items()}
        return load_config(DEMO, {**changes, **own})


def measure_choices(
    config: Config, checkpoint: Path, pool: ResourcePool, *, calibrated: bool = False
) -> dict[str, float]:
    """A student's choices on all test trips; `calibrated` on validation trips before, if asked."""
    resources = pool.get(config)
    network = resources.network
    device = resolve_device(None, config.training.device)
    student = HOSER.load(checkpoint, config, network).to(device)
    if calibrated:
        calibrate(student, resources.val, device, config.optimizer_config.batch_size)
    found = validate(
        student,
        load_split(config, network, "test"),
        device=device,
        batch_size=config.optimizer_config.batch_size,
    )
    assert found is not None  # nothing interrupts it
    return {
        "accuracy": found.next_step_acc,
        "nll": found.next_step_nll,
        "calibration_error": found.calibration_error,
        "mape": found.time_pred_mape,
        "mape_seconds": found.time_pred_mape_seconds,
    }


def measure_weighed(config: Config, checkpoint: Path) -> dict[str, float]:
    """The same choices, weighed against the way as `--costs fitted` weighs them."""
    city = open_city(config, checkpoint)
    device = resolve_device(None, config.training.device)
    student = HOSERRoadTeacher(city.load_student(device), city.network)
    weighed = WeighedOpinion(student, city.known_way(device))
    test = city.trips("test")
    trips = np.arange(len(test))
    choices = Choices.of(city.network, *here_and_taken(*test.laid_out(trips)))
    row = measure_opinion("weighed", weighed, test, trips, choices)
    found = {"accuracy": row.accuracy, "nll": row.nll, "calibration_error": row.ece}
    return {f"{name}_weighed": value for name, value in found.items()}


def assessed(trips: Path, reference: Reference) -> dict[str, float]:
    """Every measure of a generated file that it has."""
    found = assess(trips.stem, read_generated(trips, reference.network), reference)
    return {name: value for name, value in found.overall.values.items() if value is not None}


def drive(
    config: Config, checkpoint: Path, search: SearchSettings, num_generated: int, output: Path
) -> None:
    """Trips for OD pairs of the test split, the same pairs for every student."""
    generate(
        config.model_copy(update={"training": config.training.model_copy(update={"seed": 0})}),
        model_path=checkpoint,
        num_gene=num_generated,
        output=output,
        search=search,
    )
