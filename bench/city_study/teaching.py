"""The teacher and the students of a study: trained, and their choices measured on test trips."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.city_study.plain_training import PlainTraining
from bench.city_study.settings import LONG, PLAIN, VANILLA
from bench.city_study.steps import Outcome, StudyStopped
from bench.city_study.study import Study
from bench.students import Run, measure_choices, measure_weighed
from critics.road_teacher import road_teacher
from critics.teacher_report import teacher_report
from critics.teacher_training import TeacherOptions, train_teacher
from critics.teachers import together
from dataset import TripDataset
from runtime.files import replace_atomically
from train_with_distill import train
from training.folder import RunFolder
from training.result import TrainResult

LENGTHENINGS = (2, 4, 8)  # times the steps; the next is tried only where the last has helped


def make_teacher(study: Study, folder: Path, resumed: bool) -> Outcome:
    """Teachers of all training trips, or those that are named, and how good they are together."""
    network = study.network
    train_split, val = (TripDataset.load(study.city, split, network) for split in ("train", "val"))
    given, outputs = study.settings.teacher, study.teacher_files
    for seed, output in enumerate(outputs):
        if given:
            copy_file(given[seed], output)
        elif not output.exists():
            options = TeacherOptions(
                output,
                epochs=study.settings.teacher_epochs,
                seed=seed,
                device=study.device,
                progress=False,
            )
            train_teacher(options, network, train_split, val)
    teacher = together([road_teacher(output, network) for output in outputs])
    report = teacher_report(teacher, val, train_split)
    return Outcome({"report": report.to_dict(), "given": bool(given)}, tuple(outputs))


@dataclass(frozen=True)
class Trained:
    """A training's best student and figures."""

    file: Path
    figures: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """On validation trips."""
        return float(self.figures["val_accuracy"])


def train_student(study: Study, run: Run, folder: Path, resumed: bool) -> Outcome:
    """Trains one student of a study and measures it."""
    training, config = folder / "training", study.place.config(run)
    if run.variant == PLAIN:
        plain = PlainTraining(config, study.pool.get(config), training)
        trained = Trained(plain.best, plain.run())
    elif run.variant == LONG:
        trained = _train_longer(study, run, training, resumed)
    else:
        trained = _train(study, run, training, resumed)
    kept = folder / f"{run.name}.pth"
    copy_file(trained.file, kept)
    choices = measure_choices(config, kept, study.pool) | measure_weighed(config, kept)
    return Outcome({**trained.figures, **choices}, (kept,), (training,))


def _train(study: Study, run: Run, folder: Path, resumed: bool) -> Trained:
    result = train(
        study.place.config(run),
        pool=study.pool,
        folder=RunFolder(folder),
        resume=None if resumed else False,
    )
    if not result.finished:
        raise StudyStopped
    return Trained(result.checkpoint, _figures(result))


def _train_longer(study: Study, run: Run, folder: Path, resumed: bool) -> Trained:
    """Twice the steps as long as that helps on validation trips: what early stopping would find.

    Whole trainings, since the learning rate falls to 0 over a training's own length.
    """
    short = replace(run, variant=VANILLA)
    known = study.diary.result(study.step_of(short))
    last = best = Trained(study.student_file(short), {**known, "lengthened": 1})
    for factor in LENGTHENINGS:
        longer = replace(run, epochs=run.epochs * factor)
        trained = _train(study, longer, folder / f"times{factor}", resumed)
        if trained.accuracy > best.accuracy:
            best = Trained(trained.file, {**trained.figures, "lengthened": factor})
        if trained.accuracy <= last.accuracy:
            break
        last = trained
    return best


def _figures(result: TrainResult) -> dict[str, Any]:
    return {
        "val_accuracy": result.best_val_acc,
        "epoch": result.best_epoch,
        "learning_curve": [epoch["val_next_step_acc"] for epoch in result.history],
        "training_seconds": result.seconds,
    }


def copy_file(source: Path, target: Path) -> None:
    """Copies a file, whole or not at all."""
    with replace_atomically(target) as temporary:
        shutil.copyfile(source, temporary)
