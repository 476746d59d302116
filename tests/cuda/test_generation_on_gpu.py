"""Searches, scores and whole generations on a GPU give what they give on the CPU."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from config.generation import SearchName, SearchSettings
from gene import generate
from tests import device_bodies
from tests.accelerator_helpers import Lesson
from tests.cuda.place import DEVICE, needs_device
from tests.training_helpers import tiny_config
from train_with_distill import train

pytestmark = needs_device

SEARCHES: list[SearchName] = ["beam", "sample", "astar", "shortest_path"]


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_find_the_cpus_trips(on_cpu: Lesson, on_device: Lesson, name: SearchName) -> None:
    assert device_bodies.searched(on_device, name) == device_bodies.searched(on_cpu, name)


def test_measures_are_the_cpus(on_cpu: Lesson, on_device: Lesson) -> None:
    expected = device_bodies.measures(on_cpu)
    assert device_bodies.measures(on_device) == pytest.approx(expected, rel=3e-3)


def test_scores_are_the_cpus(on_cpu: Lesson, on_device: Lesson) -> None:
    expected = device_bodies.scores(on_cpu)
    assert device_bodies.scores(on_device) == pytest.approx(expected, rel=3e-3)


@pytest.mark.parametrize("name", ["beam", "sample"])
def test_a_generated_file_is_the_cpus(tiny_city: Path, tmp_path: Path, name: SearchName) -> None:
    """Also that a student trained on one device drives on the other."""
    config = tiny_config(tiny_city, tmp_path, training__device=str(DEVICE))
    model = train(config).checkpoint
    files = []
    for device in ("cpu", str(DEVICE)):
        own = config.model_copy(
            update={"training": config.training.model_copy(update={"device": device})}
        )
        output = tmp_path / f"{device.replace(':', '')}.csv"
        search = SearchSettings(name, max_steps=200)
        generate(own, model_path=model, num_gene=40, output=output, search=search)
        with output.open(newline="") as file:
            files.append([row["gene_trace_road_id"] for row in csv.DictReader(file)])
    same = sum(one == two for one, two in zip(*files, strict=True))
    assert same >= 38  # a near tie may fall the other way
