"""Travel times: their distribution, its fit, and the times drawn from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from config import Config
from models.checkpoint import read_student_file
from runtime.errors import UserError
from search.student import open_city
from times.conditions import UNDER_WAY, UNKNOWN_EXTENT, TimeConditions, extents, places
from times.dependence import Dependence, mean_log_copula
from times.distribution import TimeDistribution
from times.drawing import draw_times
from times.fitting import TimeRecords, fit_times, measure_quality
from times.selection import Selection, fit_selection
from tools.fit_times import main as fit_times_program

NUM_CLASSES, ROADS_A_TRIP = 3, 15
SPREAD = np.array([0.2, 0.5, 0.3])  # by road class
HALVED = (1.0, 0.5, *Dependence().spread[2:])
SHARED = 0.3


def simulated(num_trips: int, seed: int) -> TimeRecords:
    """Times whose spread is known: by class, later in the evening, and with slow drivers."""
    rng = np.random.default_rng(seed)
    count = num_trips * ROADS_A_TRIP
    trip = np.repeat(np.arange(num_trips), ROADS_A_TRIP)
    road_class = rng.integers(0, NUM_CLASSES, count)
    entered = np.repeat(rng.integers(0, 24, num_trips), ROADS_A_TRIP) * 3600
    expected_s = np.rint(rng.gamma(3.0, 10.0, count))
    score = np.sqrt(SHARED) * rng.standard_normal(num_trips)[trip]
    score += np.sqrt(1 - SHARED) * rng.standard_normal(count)
    residual = SPREAD[road_class] * score + 0.2 * (entered // 3600 >= 18)
    seconds = np.rint(np.expm1(np.log1p(expected_s) + residual).clip(min=0))
    position = np.tile(np.arange(ROADS_A_TRIP), num_trips)
    place = places(position, ROADS_A_TRIP - 1 - position)
    extent = extents(expected_s, trip)
    conditions = TimeConditions.of(expected_s, road_class, entered, place, extent)
    return TimeRecords(conditions, seconds, trip)


@pytest.fixture(scope="module")
def fitted() -> TimeDistribution:
    return fit_times(simulated(1500, 0), NUM_CLASSES)


def test_the_fit_finds_what_the_times_were_made_with(fitted: TimeDistribution) -> None:
    assert fitted.dependence.shared == pytest.approx(SHARED, abs=0.05)
    assert fitted.dependence.following * fitted.dependence.linked < 0.05
    ratio = fitted.class_scale / fitted.class_scale[0]
    assert ratio == pytest.approx(SPREAD / SPREAD[0], rel=0.15)
    evening = fitted.hour_offset[18:24].mean() - fitted.hour_offset[:18].mean()
    assert evening == pytest.approx(0.2, abs=0.05)


def test_unseen_times_lie_where_they_should(fitted: TimeDistribution) -> None:
    records = simulated(800, 1)
    quality = measure_quality(fitted, records)
    found = quality.coverage_50, quality.coverage_80, quality.coverage_95
    assert found == pytest.approx((0.5, 0.8, 0.95), abs=0.02)
    uniform = fitted.cdf(records.seconds + 0.25, records.conditions)
    assert stats.kstest(uniform[::ROADS_A_TRIP], "uniform").statistic < 0.07
    # The score of a sample against the distribution, by its other definition.
    rng = np.random.default_rng(0)
    few = records[np.arange(len(records)) < 2000]
    draws = [fitted.draw(rng.standard_normal(len(few)), few.conditions) for _ in range(40)]
    energy = np.abs(np.stack(draws) - few.seconds).mean()
    energy -= 0.5 * np.abs(np.stack(draws[::2]) - np.stack(draws[1::2])).mean()
    assert measure_quality(fitted, few).crps_s == pytest.approx(energy, rel=0.05)


def test_working_days_and_weekends_have_levels_of_their_own() -> None:
    """As of a student that learned on weekends only: its working days are all too short."""
    records = simulated(1500, 2)
    weekend = records.trip % 2
    hour = records.conditions.hour % 24 + 24 * weekend
    lost = np.where(weekend, 0.0, 0.5)
    conditions = replace(
        records.conditions, hour=hour, expected=np.maximum(records.conditions.expected - lost, 0.0)
    )
    found = fit_times(replace(records, conditions=conditions, trip=records.trip // 2), NUM_CLASSES)
    assert (found.hour_offset[:24] - found.hour_offset[24:]).mean() == pytest.approx(0.5, abs=0.1)
    one_kind = fit_times(simulated(1500, 0), NUM_CLASSES)  # 1970 began with a working day
    assert np.array_equal(one_kind.hour_offset[:24], one_kind.hour_offset[24:])


def test_places_count_from_both_ends_the_nearer_one_first() -> None:
    assert places(np.arange(10), 9 - np.arange(10)).tolist() == [0, 1, 2, 3, 4, 4, 4, 5, 6, 7]
    assert places(np.arange(4), 3 - np.arange(4)).tolist() == [0, 1, 6, 7]
    assert places(np.arange(1), np.zeros(1, dtype=int)).tolist() == [0]
    assert places(np.arange(7)).tolist() == [0, 1, 2, 3, 4, 4, 4]


def test_first_and_last_roads_are_apart_from_those_on_the_way() -> None:
    """As of trips that begin halfway along a road, and pull up at the end."""
    records = simulated(1500, 3)
    place = records.conditions.place
    rng = np.random.default_rng(0)
    part = np.where(place == 0, rng.random(len(records)), 1.0) * np.where(place == 7, 1.5, 1.0)
    found = fit_times(replace(records, seconds=np.rint(records.seconds * part)), NUM_CLASSES)
    pulling_up = found.place_offset[7] - found.place_offset[1:5].mean()
    assert pulling_up == pytest.approx(np.log(1.5), abs=0.1)
    middle = slice(len(found.first.levels) // 2, None)
    widths = [shape.quantiles.mean(axis=0) for shape in (found.first, found.later)]
    assert np.ptp(widths[0][: middle.start]) > 1.5 * np.ptp(widths[1][: middle.start])
    assert found.first.edges.shape != found.later.edges.shape


def test_long_trips_may_be_faster_and_more_alike_than_short_ones() -> None:
    records = simulated(1500, 4)
    extent = records.conditions.extent
    assert set(extent.tolist()) == {2, 3, 4}
    rng = np.random.default_rng(0)
    wider = np.exp(0.6 * rng.standard_normal(len(records)))
    factor = np.where(extent == 4, 1.0 / 1.4, np.where(extent == 2, wider, 1.0))
    found = fit_times(replace(records, seconds=np.rint(records.seconds * factor)), NUM_CLASSES)
    assert found.extent_offset[3] - found.extent_offset[4] == pytest.approx(np.log(1.4), abs=0.1)
    assert found.extent_scale[2] > 1.2 * found.extent_scale[3]
    assert found.extent_offset[UNKNOWN_EXTENT] == 0.0 and found.extent_scale[UNKNOWN_EXTENT] == 1.0


def test_a_distribution_of_the_earlier_format_is_still_read(fitted: TimeDistribution) -> None:
    plain = fitted.to_plain()
    old = {name: plain[name] for name in ("class_offset", "class_scale")} | plain["later"]
    old |= {"shared": 0.25, "following": 0.5}
    old |= {"format": "hoser-distil-travel-times-1", "hour_offset": plain["hour_offset"][:24]}
    read = TimeDistribution.from_plain(old)
    assert read.dependence == Dependence(0.25, 0.5, 1.0)
    assert np.array_equal(read.first.quantiles, read.later.quantiles)
    assert np.array_equal(read.hour_offset[:24], read.hour_offset[24:])
    assert (read.place_offset == 0).all() and (read.place_scale == 1).all()
    assert (read.extent_offset == 0).all() and (read.extent_scale == 1).all()
    assert read.class_scale == pytest.approx(fitted.class_scale, rel=1e-6)


@given(st.integers(0, 400), st.integers(0, NUM_CLASSES - 1), st.integers(0, 23))
@settings(max_examples=40, deadline=None)
def test_quantiles_probabilities_and_densities_agree(
    fitted: TimeDistribution, expected: int, road_class: int, hour: int
) -> None:
    def conditions(count: int) -> TimeConditions:
        return TimeConditions.of(
            np.full(count, float(expected)),
            np.full(count, road_class),
            np.full(count, hour * 3600),
            np.full(count, UNDER_WAY),
        )

    levels = np.array([1e-4, 0.02, 0.3, 0.5, 0.77, 0.99, 0.9999])
    times = fitted.quantile(levels, conditions(len(levels)))
    assert (np.diff(times) >= 0).all()
    positive = times > 0
    back = fitted.cdf(times[positive], conditions(int(positive.sum())))
    assert back == pytest.approx(levels[positive], abs=1e-6)
    whole = np.arange(20_000.0)
    total = np.exp(fitted.log_density(whole, conditions(len(whole)))).sum()
    assert total == pytest.approx(1.0, abs=2e-3)


def test_drawn_times_are_whole_never_run_back_and_spread_as_fitted(
    fitted: TimeDistribution,
) -> None:
    num_trips = 2000
    lengths = np.full(num_trips, 6)
    steps = np.tile([0, 10, 25, 3, 60, 14], num_trips)
    start = np.repeat(np.arange(num_trips) * 7 + 10 * 3600, 6)
    times = start + np.concatenate([np.cumsum(part) for part in np.split(steps, num_trips)])
    road_class = np.ones(len(times), dtype=np.int64)
    drawn = draw_times(fitted, 3, np.arange(num_trips), lengths, times, road_class)
    by_trip = drawn.reshape(num_trips, 6)
    assert drawn.dtype == np.int64
    assert (np.diff(by_trip, axis=1) >= 0).all()
    assert (by_trip[:, 0] == times[::6]).all()
    third = np.diff(by_trip, axis=1)[:, 1]  # the wait whose expected time is 25 s
    same = TimeConditions.of(
        np.full(num_trips, 25.0),
        road_class[:num_trips],
        by_trip[:, 1],
        np.full(num_trips, int(places(np.array([1]), np.array([3]))[0])),
        np.zeros(num_trips, dtype=np.int64),  # less than two minutes
    )
    uniform = fitted.cdf(third + 0.5 * np.random.default_rng(0).random(num_trips), same)
    assert stats.kstest(uniform, "uniform").statistic < 0.05
    scores = [fitted.normal_scores(w.astype(float), same) for w in np.diff(by_trip, axis=1).T[1:4]]
    assert np.corrcoef(scores[0], scores[2])[0, 1] > 0.2


@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), st.integers(0, 2**62), st.data())
@settings(max_examples=30, deadline=None)
def test_a_trips_times_depend_on_its_number_alone(
    fitted: TimeDistribution, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(1, len(lengths) - 1))
    size, numbers = np.array(lengths), np.arange(len(lengths)) + 5
    ends = np.cumsum(size)
    times = np.concatenate([1000 + 13 * np.arange(n) for n in lengths])
    road_class = np.arange(len(times)) % NUM_CLASSES
    whole = draw_times(fitted, seed, numbers, size, times, road_class)
    middle = int(ends[cut - 1])
    first = draw_times(fitted, seed, numbers[:cut], size[:cut], times[:middle], road_class[:middle])
    second = draw_times(
        fitted, seed, numbers[cut:], size[cut:], times[middle:], road_class[middle:]
    )
    assert np.array_equal(whole, np.concatenate([first, second]))


@pytest.mark.parametrize(
    "dependence",
    [
        Dependence(0.4, 0.0),
        Dependence(0.2, 0.5),
        Dependence(0.1, 0.8, 0.6),
        Dependence(0.1, 0.8, 0.6, HALVED),
    ],
)
def test_the_dependences_likelihood_is_scipys(dependence: Dependence) -> None:
    rng = np.random.default_rng(0)
    lengths = [1, 4, 4, 9]
    scores = rng.standard_normal(sum(lengths))
    trip = np.repeat(np.arange(4), lengths)
    expected = 0.0
    for part in np.split(scores, np.cumsum(lengths)[:-1]):
        joint = stats.multivariate_normal(cov=dependence.covariance(len(part)))
        expected += float(joint.logpdf(part)) - float(stats.norm.logpdf(part).sum())
    found = mean_log_copula(dependence, scores, trip)
    assert found == pytest.approx(expected / len(scores), abs=1e-6)


def test_trips_of_a_length_may_be_more_alike_as_wholes() -> None:
    dependence = Dependence(0.3, 0.6, 0.5, HALVED)
    for length in (1, 2, 6, 30):
        plain = replace(dependence, spread=Dependence().spread).covariance(length)
        variance = dependence.variance_of_mean(np.array([length]))[0]
        assert variance == pytest.approx(plain.sum() / length**2)
        assert np.diag(dependence.covariance(length)).mean() == pytest.approx(1.0)
    length, count = 7, 4000
    factor = np.linalg.cholesky(replace(dependence, spread=Dependence().spread).covariance(length))
    scores = np.random.default_rng(0).standard_normal((count, length)) @ factor.T
    drawn = dependence._spread_out(scores, np.full(count, length))
    assert drawn.std() == pytest.approx(1.0, abs=0.02)
    covariance = dependence.covariance(length)
    assert np.cov(drawn.T) == pytest.approx(covariance, abs=0.08)
    trip = np.repeat(np.arange(count), length)
    found = dependence.with_spread(drawn.ravel(), trip).spread
    assert found[1] == pytest.approx(0.5, abs=0.05) and found[5] == pytest.approx(1.0)


def test_durations_that_the_data_lack_are_found() -> None:
    rng = np.random.default_rng(0)
    typical = rng.uniform(100.0, 400.0, 3000)[:, None]
    drawn = typical * np.exp(0.3 * rng.standard_normal((3000, 25)))
    real = drawn[:, 0]
    assert not fit_selection(real, lambda: drawn[:, 1:]).selects
    long = real > 180.0
    found = fit_selection(real[long], lambda: drawn[long, 1:])
    assert 170.0 < found.begins_s < 195.0
    kept = found.kept(np.array([150.0, 250.0]))
    assert kept[0] < 0.1 and kept[1] > 0.95


def test_trips_shorter_than_all_real_ones_are_drawn_again(fitted: TimeDistribution) -> None:
    selecting = replace(fitted, selection=Selection(195.0, 1.0))
    count, length = 400, 12
    sizes, times = np.full(count, length), np.tile(20 * np.arange(length), count)
    kinds = np.zeros(count * length, dtype=np.int64)
    plain, chosen = (
        draw_times(each, 3, np.arange(count), sizes, times, kinds).reshape(count, length)[:, -1]
        for each in (fitted, selecting)
    )
    assert (plain < 190).mean() > 0.05 and (chosen < 190).mean() < 0.01
    kept = np.flatnonzero(plain > 205)
    assert (plain[kept] == chosen[kept]).mean() > 0.99


def test_plain_values_are_the_distribution_and_damaged_ones_are_refused(
    fitted: TimeDistribution,
) -> None:
    plain = fitted.to_plain()
    shape = plain["later"]
    again = TimeDistribution.from_plain(plain)
    assert np.allclose(again.later.quantiles, fitted.later.quantiles, atol=1e-5)
    assert again.content_hash == TimeDistribution.from_plain(again.to_plain()).content_hash
    broken = (
        {**plain, "first": {**shape, "quantiles": shape["quantiles"][:, :-1]}},
        {**plain, "later": {**shape, "tails": torch.zeros_like(shape["tails"])}},
        {**plain, "later": {**shape, "levels": torch.full_like(shape["levels"], torch.nan)}},
        {**plain, "first": {key: value for key, value in shape.items() if key != "edges"}},
        {**plain, "first": "round"},
        {**plain, "place_scale": torch.zeros(8)},
        {**plain, "dependence": {"shared": "much"}},
        {**plain, "dependence": {**plain["dependence"], "spread": (1.0,)}},
        {key: value for key, value in plain.items() if key != "hour_offset"},
        {**plain, "format": "another"},
    )
    for content in broken:
        with pytest.raises(UserError, match=r"tools\.fit_times"):
            TimeDistribution.from_plain(content)


def test_fit_times_completes_published_checkpoints(
    parity_dir: Path, parity_city: Path, tmp_path: Path
) -> None:
    bare, output = parity_dir / "hoser_state.pth", tmp_path / "with_times.pth"
    folder = ["--data_dir", str(parity_city), "--dataset", "parity", "--device", "cpu"]
    with pytest.raises(UserError, match="--output"):
        fit_times_program(["--model", str(bare), *folder])
    fit_times_program(["--model", str(bare), *folder, "--output", str(output)])
    before, after = read_student_file(bare), read_student_file(output)
    assert before.travel_times is None
    assert all(torch.equal(before.state[name], after.state[name]) for name in before.state)
    city = open_city(Config(data_dir=str(parity_city)), output)
    distribution = city.travel_times(torch.device("cpu"))
    # On first use the same is found, and kept.
    first = open_city(Config(data_dir=str(parity_city)), bare).travel_times(torch.device("cpu"))
    assert first.content_hash == distribution.content_hash
    assert list((parity_city / ".cache").glob("travel-times-*.pt"))
    city.known_times = replace(
        distribution,
        class_scale=distribution.class_scale[:1],
        class_offset=distribution.class_offset[:1],
    ).to_plain()
    with pytest.raises(UserError, match="classes of roads"):
        city.travel_times(torch.device("cpu"))
