"""What generated trips teach: the real trips themselves are worth exactly as much."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.road_network import RoadNetwork
from metrics.generated import GeneratedTrips
from metrics.trips import read_real_trips
from metrics.utility import MEASURED
from pipeline.utility import measure_utility
from report.utility import utility_section
from tests.training_helpers import tiny_config


def test_real_trips_have_the_utility_of_real_trips(
    tiny_city: Path, tmp_path: Path, messages: list[str]
) -> None:
    """A generator that gives back the training trips teaches what they teach."""
    network = RoadNetwork.load(tiny_city)
    trips = read_real_trips(tiny_city, "train", network)
    config = tiny_config(tiny_city, tmp_path / "save", optimizer_config__max_epoch=1)
    none = np.zeros(len(trips), dtype=np.int64)
    generated = GeneratedTrips(trips, none, None, None, None)
    mine = [tmp_path / "utility" / "synthetic_test.csv"]
    student = tmp_path / f"real_trips_{len(trips)}"
    mine += [student / "figures.json", student / "city" / "roadmap.geo"]
    for place in mine:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("mine")
    found = measure_utility(config, generated, network, tmp_path / "utility")
    for place in mine:
        (aside,) = place.parent.glob(f"{place.name}.2*")
        assert aside.read_text() == "mine" and place.exists()
    assert found.num_trips == len(trips)
    for name in MEASURED:
        # The same trips in another order: only the course of training differs.
        assert found.ratio("synthetic", name) == pytest.approx(1.0, abs=0.15), name
        assert found.ratio("mixture", name) == pytest.approx(1.0, abs=0.15), name
        assert np.isfinite(found.real_on_synthetic[name])
    before = len(messages)
    assert measure_utility(config, generated, network, tmp_path / "utility") == found
    assert sum("up to date" in line for line in messages[before:]) == 3
    (table,) = utility_section({"same": found}).tables
    assert [row[0] for row in table.rows] == [
        "real trips",
        "same",
        "half real, half same",
        "real trips, tested on same",
    ]
    jumping = replace(generated, unjoined=np.ones(len(trips), dtype=np.int64))
    with pytest.raises(Exception, match="0 trips to learn from"):
        measure_utility(config, jumping, network, tmp_path / "other")
