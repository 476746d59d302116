"""The students of a study: with and without a teacher that drives, of the same trips and steps.

Each is a run of `train_with_distill` in a folder of its own; what is trained is found again, so
that studies of different questions share their students.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from bench.students import DEMO
from config import Config, load_config
from critics.teacher_training import TeacherOptions, train_teacher
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.logs import setup_logging
from train_with_distill import train
from training.folder import RunFolder

TEACHER_EPOCHS = 12

Arm = Literal["vanilla", "distilled"]
ARMS: tuple[Arm, ...] = get_args(Arm)


@dataclass(frozen=True)
class Training:
    """How much every student sees."""

    trips: int = 1500
    epochs: int = 10  # of as many steps each, with and without a teacher
    replayed: int = 6000  # further trips that the teachers drive, as the demo has it
    seeds: int = 5
    teachers: int = 1  # that teach together


@dataclass(frozen=True)
class Student:
    """One of them."""

    arm: Arm
    seed: int

    def file(self, folder: Path) -> Path:
        """Where it is, or will be."""
        return folder / f"seed{self.seed}_{self.arm}" / "best.pth"


def make_teachers(city: Path, folder: Path, number: int) -> list[Path]:
    """So many teachers of the same trips, of different seeds; those missing are trained."""
    files = [folder / f"teacher{seed or ''}.pt" for seed in range(number)]
    for seed, file in enumerate(files):
        make_teacher(city, file, seed)
    return files


def make_teacher(city: Path, file: Path, seed: int = 0) -> None:
    """A teacher of whole trips on all training trips, unless there is one."""
    if file.exists():
        return
    network = RoadNetwork.load(city)
    train_split, val = (TripDataset.load(city, split, network) for split in ("train", "val"))
    options = TeacherOptions(
        file,
        vocabulary="road",
        destination_prefix=True,
        epochs=TEACHER_EPOCHS,
        seed=seed,
        progress=False,
    )
    train_teacher(options, network, train_split, val)


def make_students(
    city: Path, teachers: Sequence[Path], folder: Path, training: Training, processes: int
) -> list[Student]:
    """Trains the students that are missing, several side by side; returns all."""
    students = [Student(arm, seed) for seed in range(training.seeds) for arm in ARMS]
    missing = [student for student in students if not _is_done(student, folder)]
    print(f"{len(students)} students, {len(missing)} of them to be trained.", flush=True)
    work = partial(_train, city, teachers, folder, training)
    if processes == 1:
        _report(map(work, missing))
    elif missing:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            _report(pool.map(work, missing))
    return students


def _report(results: Any) -> None:
    for line in results:
        print(f"  {line}", flush=True)


def _is_done(student: Student, folder: Path) -> bool:
    return student.file(folder).with_name("done").exists()


def _train(
    city: Path, teachers: Sequence[Path], folder: Path, training: Training, student: Student
) -> str:
    """Trains one student, or goes on with it; says how good it is."""
    setup_logging("WARNING")
    torch.set_num_threads(1)
    file = student.file(folder)
    config = student_config(city, teachers, training, student)
    result = train(config, folder=RunFolder(file.parent))
    if not result.finished:
        raise RuntimeError(f"{file.parent} was interrupted; start again to go on")
    file.with_name("done").touch()
    return f"{file.parent.name}: validation accuracy {result.best_val_acc:.4f}"


def student_config(
    city: Path, teachers: Sequence[Path], training: Training, student: Student
) -> Config:
    """The demo's configuration, with what the study changes."""
    first, *further = map(str, teachers)
    changes: dict[str, Any] = {
        "dataset": "scoring",
        "data_dir": str(city),
        "data.max_train_trips": training.trips,
        "optimizer_config.max_epoch": training.epochs,
        "training.seed": student.seed,
        "training.device": "cpu",
        "training.progress": False,
        "dataloader.num_workers": 0,
        "distill.enable": student.arm == "distilled",
        "distill.ckpt": first,
        "distill.further_ckpts": further,
        "distill.teacher_report": False,
        "distill.replay.trips": training.replayed,
    }
    return load_config(DEMO, changes)


def files_of(students: Sequence[Student], folder: Path) -> list[Path]:
    """The students' files."""
    return [student.file(folder) for student in students]
