"""The measures: equal to the published numbers, to their definitions and to reference packages."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastdtw import fastdtw
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from data.geometry import haversine
from data.road_network import RoadNetwork
from metrics.assessment import Assessment, assess
from metrics.comparison import Comparison, compare
from metrics.distributions import bin_edges, histogram, jensen_shannon
from metrics.generated import GeneratedTrips, read_generated
from metrics.geometry_kernels import haversine as haversine_of_points
from metrics.local import measure_local
from metrics.measures import pair_values
from metrics.od import OdGrid, Pairs, pair_trips
from metrics.pair_kernels import DTW_RADIUS_KM, fast_dtw
from metrics.reference import Reference, Settings
from metrics.scenarios import Centre, Scenarios
from metrics.statistics import Bootstrap, benjamini_hochberg, holm, paired_test
from metrics.trips import Trips, read_real_trips


@pytest.fixture(scope="module")
def city(parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(parity_city, tmp_path_factory.mktemp("data") / "city"))


@pytest.fixture(scope="module")
def network(city: Path) -> RoadNetwork:
    return RoadNetwork.load(city)


@pytest.fixture(scope="module")
def published(parity_dir: Path) -> dict[str, Any]:
    return json.loads((parity_dir / "metrics.json").read_text())


@pytest.fixture(scope="module")
def real(city: Path, network: RoadNetwork) -> Trips:
    return read_real_trips(city, "test", network)


@pytest.fixture(scope="module")
def generated(parity_dir: Path, network: RoadNetwork) -> GeneratedTrips:
    return read_generated(parity_dir / "generated.csv", network)


@pytest.fixture(scope="module")
def assessment(real: Trips, generated: GeneratedTrips, network: RoadNetwork) -> Assessment:
    return assess("published", generated, Reference.of(real, network, Settings(bootstrap=200)))


def walks(network: RoadNetwork, count: int, seed: int, longest: int = 30) -> Trips:
    """Random drives over the network."""
    rng = np.random.default_rng(seed)
    roads: list[int] = []
    lengths: list[int] = []
    for _ in range(count):
        road = int(rng.integers(network.num_roads))
        trip = [road]
        while len(trip) < int(rng.integers(2, longest + 1)) and len(network.candidates(road)):
            road = int(rng.choice(network.candidates(road)))
            trip.append(road)
        roads += trip
        lengths.append(len(trip))
    times = 1_446_000_000 + np.cumsum(rng.integers(1, 60, len(roads)))
    return Trips.from_lengths(np.array(roads, dtype=np.int32), times, np.array(lengths))


def test_distributions_equal_the_published_numbers(
    assessment: Assessment, published: dict[str, Any]
) -> None:
    for name, value in published.items():
        if name != "pairs":
            assert assessment.overall.values[name] == pytest.approx(value, abs=1e-6), name


def test_pairs_equal_the_published_numbers(
    assessment: Assessment, published: dict[str, Any]
) -> None:
    expected = published["pairs"]
    assert assessment.pairs.real.tolist() == [pair["real"] for pair in expected]
    assert assessment.pairs.generated.tolist() == [pair["generated"] for pair in expected]
    for ours, theirs in (
        ("hausdorff_km", "hausdorff_km"),
        ("dtw_km", "fastdtw_km"),
        ("edr", "edr"),
    ):
        values = pair_values(assessment.local)[ours]
        np.testing.assert_allclose(values, [pair[theirs] for pair in expected], atol=1e-6)


points = st.integers(1, 24).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
    )
)


@given(first=points, second=points, radius=st.integers(1, 3), jitter=st.booleans())
@settings(max_examples=150, deadline=None)
def test_fast_dtw_is_the_package_bit_for_bit(
    first: tuple[list[int], list[int]],
    second: tuple[list[int], list[int]],
    radius: int,
    jitter: bool,
) -> None:
    # Points on a coarse lattice make many equal costs, which the tie-breaking must decide alike.
    rng = np.random.default_rng(len(first[0]) * 100 + len(second[0]))
    trips = []
    for lat, lon in (first, second):
        trip = np.array([lat, lon]).T * 1e-3 + [39.9, 116.3]
        trips.append(trip + rng.normal(size=trip.shape) * 1e-4 if jitter else trip)
    expected, _ = fastdtw(
        trips[0],
        trips[1],
        radius,
        lambda a, b: haversine_of_points(a[0], a[1], b[0], b[1], DTW_RADIUS_KM),
    )
    lat1, lon1, lat2, lon2 = (np.ascontiguousarray(t[:, axis]) for t in trips for axis in (0, 1))
    assert fast_dtw(lat1, lon1, lat2, lon2, radius) == expected


def plain_measures(first: np.ndarray, second: np.ndarray, eps: float) -> tuple[float, float, float]:
    """Hausdorff, DTW and EDR straight from their definitions, on (lat, lon) rows."""

    def matrix(a: int, b: int, radius: float) -> np.ndarray:
        return haversine(first[:, None, a], first[:, None, b], second[:, a], second[:, b], radius)

    distance = matrix(1, 0, 6378.0)
    swapped = matrix(0, 1, 6378137.0)
    n, m = distance.shape
    warp = np.full((n + 1, m + 1), np.inf)
    warp[0, 0] = 0
    edits = np.add.outer(np.arange(n + 1.0), np.arange(m + 1.0))
    for i in range(n):
        for j in range(m):
            warp[i + 1, j + 1] = distance[i, j] + min(warp[i, j + 1], warp[i + 1, j], warp[i, j])
            change = float(swapped[i, j] >= eps)
            edits[i + 1, j + 1] = min(
                edits[i, j] + change, edits[i, j + 1] + 1, edits[i + 1, j] + 1
            )
    hausdorff = max(distance.min(0).max(), distance.min(1).max())
    return float(hausdorff), float(warp[n, m]), float(edits[n, m] / max(n, m))


def test_local_measures_equal_their_definitions(network: RoadNetwork) -> None:
    first, second = walks(network, 40, 1), walks(network, 40, 2)
    pairs = Pairs(np.arange(40), np.arange(40), 0, 0)
    found = pair_values(measure_local(first, second, pairs, network, edr_eps=150.0, dtw="exact"))
    for k in range(40):
        trips = [
            np.stack([network.center_lat[t.trip(k)[0]], network.center_lon[t.trip(k)[0]]], 1)
            for t in (first, second)
        ]
        expected = plain_measures(trips[0], trips[1], 150.0)
        got = [found[name][k] for name in ("hausdorff_km", "dtw_km", "edr")]
        np.testing.assert_allclose(got, expected, atol=1e-9)


def test_exact_dtw_is_never_above_fastdtw(network: RoadNetwork) -> None:
    first, second = walks(network, 300, 3), walks(network, 300, 4)
    pairs = Pairs(np.arange(300), np.arange(300), 0, 0)
    exact = measure_local(first, second, pairs, network, dtw="exact").dtw_km
    fast = measure_local(first, second, pairs, network, dtw="fastdtw").dtw_km
    assert (exact <= fast + 1e-9).all()
    assert (exact < fast - 1e-9).any()


def test_pairing_is_ith_with_ith_of_the_same_cells(network: RoadNetwork) -> None:
    real, generated = walks(network, 400, 5, 6), walks(network, 300, 6, 6)
    grid = OdGrid.over(network, 0.01)
    pairs = pair_trips(real, generated, grid)
    groups: dict[int, list[int]] = {}
    for i, key in enumerate(grid.od_key(real).tolist()):
        groups.setdefault(key, []).append(i)
    expected = []
    seen: dict[int, int] = {}
    for j, key in enumerate(grid.od_key(generated).tolist()):
        rank = seen[key] = seen.get(key, -1) + 1
        if key >= 0 and rank < len(groups.get(key, [])):
            expected.append((groups[key][rank], j))
    assert expected and list(zip(pairs.real.tolist(), pairs.generated.tolist())) == expected
    keys = {key for key in seen if key >= 0}
    assert pairs.generated_od == len(keys)
    assert pairs.matched_od == len(keys & set(groups))


@given(st.lists(st.floats(0, 50), min_size=1, max_size=60), st.lists(st.floats(0, 80), max_size=60))
@settings(max_examples=60, deadline=None)
def test_histograms_and_divergence_equal_numpy_and_scipy(
    real_values: list[float], other_values: list[float]
) -> None:
    real, other = np.array(real_values), np.array([*other_values, 1.0])
    edges = bin_edges(real)
    counts = [histogram(values, edges) for values in (real, other)]
    for values, found in zip((real, other), counts):
        np.testing.assert_array_equal(found, np.histogram(values, edges)[0])
    expected = jensenshannon(counts[0], counts[1]) ** 2
    assert jensen_shannon(counts[0], counts[1]) == pytest.approx(expected, abs=1e-7)


def test_scenarios_split_the_trips(network: RoadNetwork) -> None:
    trips = walks(network, 500, 7)
    labels = Scenarios.of(Centre.of(trips, network), network).label(trips)
    for group in (
        ("weekday", "weekend"),
        ("peak", "off_peak"),
        ("centre", "suburb"),
        ("to_centre", "from_centre", "within_centre", "outside_centre"),
    ):
        np.testing.assert_array_equal(sum(labels[name].astype(int) for name in group), 1)
    assert not (labels["peak"] & labels["weekend"]).any()


def test_weekday_and_hour_are_read_as_written(network: RoadNetwork) -> None:
    starts = [1446807600, 1446940800, 1446832800]  # Friday 11:00, Sunday 00:00, Friday 18:00
    trips = Trips.from_lengths(
        np.zeros(3, dtype=np.int32), np.array(starts), np.ones(3, dtype=np.int64)
    )
    labels = Scenarios.of(Centre.of(trips, network), network).label(trips)
    assert labels["weekend"].tolist() == [False, True, False]
    assert labels["peak"].tolist() == [False, False, True]


def test_bootstrap_interval_is_that_of_the_normal_theory() -> None:
    rng = np.random.default_rng(0)
    for count in (400, 20_000):  # above 1024 units the resampling goes by blocks
        values = rng.normal(3.0, 2.0, count)
        bootstrap = Bootstrap(count, 4000, np.random.default_rng(1))
        interval = bootstrap.mean_interval(values, np.arange(count))
        assert interval is not None
        expected = 2 * 1.96 * values.std() / np.sqrt(count)
        assert interval.high - interval.low == pytest.approx(expected, rel=0.08)
        assert interval.low < values.mean() < interval.high


def test_intervals_hold_the_value_and_are_seeded(
    assessment: Assessment, real: Trips, generated: GeneratedTrips, network: RoadNetwork
) -> None:
    for name, interval in assessment.overall.intervals.items():
        value = assessment.overall.values[name]
        if interval is not None and value is not None:
            assert interval.low <= value <= interval.high, name
    again = assess("again", generated, Reference.of(real, network, Settings(bootstrap=200)))
    assert again.overall.intervals == assessment.overall.intervals


def test_corrections_equal_scipy_and_the_textbook() -> None:
    p_values = np.array([0.04, 0.001, 0.03, 0.2, 0.012])
    np.testing.assert_allclose(
        benjamini_hochberg(p_values), stats.false_discovery_control(p_values)
    )
    np.testing.assert_allclose(holm(p_values), [0.09, 0.005, 0.09, 0.2, 0.048])


def test_paired_test_equals_scipy() -> None:
    rng = np.random.default_rng(3)
    first = rng.gamma(2.0, size=80)
    second = first + rng.normal(0.1, 0.3, 80)
    found = paired_test(first, second, Bootstrap(len(first), 500, rng))
    assert found.t_p == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert found.wilcoxon_p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found.mean_difference == pytest.approx((second - first).mean())
    assert paired_test(first, first, Bootstrap(len(first), 100, rng)).wilcoxon_p == 1.0


def test_comparison_tells_a_better_model_and_only_that(
    network: RoadNetwork, real: Trips, generated: GeneratedTrips
) -> None:
    reference = Reference.of(walks(network, 600, 8), network, Settings(0.01, bootstrap=300))
    truth = reference.trips
    exact = _as_generated(truth)
    noisy = _as_generated(walks(network, 600, 10))
    comparison = compare(
        [assess("noisy", noisy, reference), assess("exact", exact, reference)], "test", 300
    )
    row = comparison.row("noisy", "exact", "hausdorff_km")
    assert row is not None and row.count > 20
    assert row.mean_second == 0.0 and row.mean_difference < 0 and row.mark == "***"
    assert row.interval is not None and row.interval.high < 0
    assert all(row.p <= row.p_bh <= row.p_holm <= 1.0 for row in comparison.rows)
    same = compare([assess("a", exact, reference), assess("b", exact, reference)], "test", 300)
    assert all(row.mark == "" and row.p_holm == 1.0 for row in same.rows)


def test_divergences_that_many_tests_hide_are_told(
    network: RoadNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    reference = Reference.of(walks(network, 300, 8), network, Settings(0.01, bootstrap=20))
    roads, offsets = reference.trips.road_ids, reference.trips.offsets
    slow = Trips(roads, reference.trips.times * 3, offsets)
    models = [
        assess(str(i), _as_generated(trips), reference)
        for i, trips in enumerate([reference.trips] * 6 + [slow])
    ]
    few, many = compare(models[-3:], "test", 20), compare(models, "test", 20)
    of_slow = [one.row("5", "6", "trip_duration_jsd") for one in (few, many)]
    assert [row is not None and row.p for row in of_slow] == [0.001, 0.001]
    assert [row is not None and bool(row.mark) for row in of_slow] == [True, False]
    (told,) = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert f"among {len(many.rows)} tests (Holm); --bootstrap {20 * len(many.rows)}" in told


def _as_generated(trips: Trips) -> GeneratedTrips:
    return GeneratedTrips(trips, np.zeros(len(trips), dtype=np.int64), None, None, None)


def test_comparison_survives_json(network: RoadNetwork) -> None:
    reference = Reference.of(walks(network, 200, 11), network, Settings(0.01, bootstrap=50))
    models = [assess(str(i), _as_generated(walks(network, 200, i)), reference) for i in (12, 13)]
    comparison = compare(models, "test", 50)
    assert comparison.rows
    assert Comparison.from_json(json.loads(json.dumps(comparison.to_json()))) == comparison


def test_trips_of_one_road_and_without_length_are_measured(network: RoadNetwork) -> None:
    times = np.array([1_446_000_000, 1_446_000_060, 1_446_000_060], dtype=np.int64)
    trips = Trips.from_lengths(
        np.array([5, 5, 5], dtype=np.int32), times, np.array([1, 2], dtype=np.int64)
    )
    found = assess("still", _as_generated(trips), Reference.of(trips, network, Settings()))
    assert found.overall.values["distance_jsd"] == 0.0
    assert found.overall.values["radius_real_mean"] == 0.0
    assert len(found.pairs) == 1 and found.local.dtw_km.tolist() == [0.0]


def test_intervals_of_many_trips_do_not_depend_on_their_number() -> None:
    assert Bootstrap(50_000, 10, np.random.default_rng(0)).weights.shape == (10, 1024)
    assert Bootstrap(0, 10, np.random.default_rng(0)).weights.shape == (0, 0)
