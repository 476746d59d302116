"""What an output was made from is written into it, and every reader holds it against its own."""

from __future__ import annotations

import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from config import Config
from data.zone_record import write_zone_record
from gene import generate
from runtime.errors import UserError
from training.folder import RunFolder
from training.resources import load_resources


def stretched(city: Path, target: Path, factor: int) -> Path:
    """A copy of a city whose training trips take `factor` times as long."""
    shutil.copytree(city, target, ignore=shutil.ignore_patterns(".cache"))
    train = target / "train.csv"
    header, *rows = train.read_text().splitlines()
    lines = [header]
    for row in rows:
        begin = row.rindex('"', 0, len(row) - 1) + 1 if row.endswith('"') else row.rindex(',"') + 2
        head, times = row[:begin], row[begin:].rstrip('"').split(",")
        first = datetime.fromisoformat(times[0])
        spread = [first + factor * (datetime.fromisoformat(t) - first) for t in times]
        assert spread[-1] - first > timedelta(0)
        text = ",".join(t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in spread)
        lines.append(f'{head}{text}"')
    train.write_text("\n".join(lines) + "\n")
    return target


def test_travel_times_are_read_as_the_student_was_taught(
    trained: Config, tmp_path: Path, messages: list[str]
) -> None:
    model = RunFolder.of(trained).best
    first = generate(config=trained, model_path=model, output=tmp_path / "a.csv", num_gene=12)
    assert not any("other trips" in line for line in messages)
    slow = stretched(Path(trained.data_dir), tmp_path / "slow", 10)
    elsewhere = trained.model_copy(update={"data_dir": str(slow)})
    second = generate(elsewhere, model_path=model, output=tmp_path / "b.csv", num_gene=12)
    assert second.mean_trip_seconds == first.mean_trip_seconds
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert any("was trained on other trips than" in line for line in messages)


@pytest.mark.parametrize("known", [True, False])
def test_zones_of_another_network_are_refused(tiny_city: Path, tmp_path: Path, known: bool) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city)
    load_resources(Config(data_dir=str(city)))
    partition = city / "road_network_partition"
    zones = partition.read_text().split()
    random.Random(0).shuffle(zones)  # of as many roads, but not of these
    partition.write_text("\n".join(zones) + "\n")
    if known:
        write_zone_record(city, "0" * 64)
    with pytest.raises(UserError, match=r"(?i)make .* anew with: python"):
        load_resources(Config(data_dir=str(city)))


def test_a_matrix_of_other_trips_is_said(
    tiny_city: Path, tmp_path: Path, messages: list[str]
) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city, ignore=shutil.ignore_patterns(".cache"))
    lines = (city / "train.csv").read_text().splitlines(keepends=True)
    (city / "train.csv").write_text("".join(lines[: len(lines) * 3 // 4]))
    load_resources(Config(data_dir=str(city)))
    assert any("does not hold the zone changes of train.csv" in line for line in messages)
