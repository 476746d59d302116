"""Scores of trips: against second implementations, known answers, and end to end."""

from __future__ import annotations

import csv
import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from config.schema import Config
from critics.road_teacher import road_teacher
from critics.scoring import ScoreRequest, perplexity, score
from critics.scoring.anomalies import KINDS, SEVERITIES, Injector
from critics.scoring.calibration import Calibration, percentile
from critics.scoring.detection import Draws, compare_auc, detect, pr_auc, published_rule, roc_auc
from critics.scoring.judges import (
    IMPOSSIBLE_NATS,
    Judge,
    StudentJudge,
    Surprises,
    TeacherJudge,
    TransitionJudge,
)
from critics.scoring.opening import open_judge, unique_names
from critics.scoring.pace import UsualTimes
from critics.scoring.perplexity import log_perplexity, token_log_perplexity
from critics.scoring.running import Reader, RunningScores, StudentReader, TeacherReader
from critics.scoring.scores import JudgeScorer, Normality
from critics.scoring.session import read_any_trips, read_labels
from critics.scoring.statistics import largest_window, most_surprising
from critics.scoring.trips import Surroundings, as_trips, position_offsets
from critics.weights import build_lmtad, load_weights
from data.choices import Choices, judge
from data.demo_city.characters import main as characters
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from metrics.trips import Trips
from runtime.errors import UserError
from tests.training_helpers import random_teacher, tiny_config
from tools.export_lmtad_weights import main as export
from tools.score_trips import main
from ways.bending import KnownWay


@pytest.fixture(scope="module")
def network(tiny_city: Path) -> RoadNetwork:
    return RoadNetwork.load(tiny_city)


@pytest.fixture(scope="module")
def train(tiny_city: Path, network: RoadNetwork) -> TripDataset:
    return TripDataset.load(tiny_city, "train", network)


@pytest.fixture(scope="module")
def city(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny city with as many validation as training trips, enough to calibrate on."""
    folder = tmp_path_factory.mktemp("scored") / "city"
    shutil.copytree(tiny_city, folder, ignore=shutil.ignore_patterns(".*"))
    shutil.copyfile(folder / "train.csv", folder / "val.csv")
    return folder


@pytest.fixture(scope="module")
def student_file(
    tiny_city: Path, network: RoadNetwork, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("student")
    config = tiny_config(tiny_city, folder)
    torch.manual_seed(3)
    path = folder / "best.pth"
    torch.save({"model": HOSER(config, network).state_dict(), "config": config.model_dump()}, path)
    return path


def test_judging_choices_equals_softmax_by_hand(network: RoadNetwork) -> None:
    rng = np.random.default_rng(0)
    here = rng.integers(0, network.num_roads, 200)
    taken = np.array([rng.choice(network.candidates(int(road))) for road in here])
    taken[7] = here[7]  # no road leads onto itself
    choices = Choices.of(network, here, taken)
    logits = rng.normal(size=int(choices.count.sum()))
    found = judge(logits, choices)
    first = 0
    for position, road in enumerate(here):
        candidates = network.candidates(int(road))
        part = np.exp(logits[first : first + len(candidates)])
        p = part / part.sum()
        first += len(candidates)
        if position == 7:
            assert math.isinf(found.surprise[7])
            continue
        place = candidates.tolist().index(taken[position])
        assert found.surprise[position] == pytest.approx(-np.log(p[place]))
        assert found.entropy[position] == pytest.approx(-(p * np.log(p)).sum())
        spread = (p * np.log(p) ** 2).sum() - (p * np.log(p)).sum() ** 2
        assert found.variance[position] == pytest.approx(spread, abs=1e-12)
        assert network.reach_targets[found.likeliest[position]] == candidates[p.argmax()]


def test_the_teacher_judges_whole_trips_as_one_by_one(
    tiny_city: Path, network: RoadNetwork, train: TripDataset
) -> None:
    judge_ = TeacherJudge("teacher", road_teacher(random_teacher(tiny_city), network), network)
    trips = as_trips(train).select(np.arange(12))
    together = judge_.surprises(trips)
    offsets = position_offsets(trips)
    for trip in range(len(trips)):
        alone = judge_.surprises(trips.select(np.array([trip])))
        span = slice(offsets[trip], offsets[trip + 1])
        np.testing.assert_allclose(together.route[span], alone.route, atol=1e-5)


def test_the_student_judges_as_its_loss_does(
    tiny_city: Path, network: RoadNetwork, train: TripDataset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = HOSER(tiny_config(tiny_city, tmp_path, trajectory_encoder_config__max_len=7), network)
    trips = as_trips(train).select(np.arange(9))
    found = StudentJudge("student", model, network, (train.time_mean, train.time_std)).surprises(
        trips
    )
    cropped = TripDataset.load(tiny_city, "train", network, max_len=7)
    offsets = position_offsets(trips)
    spec = cropped.evaluation_rows()
    spec = spec[np.flatnonzero(spec.trip_id < 9)]
    batch = cropped.features(cropped.rows(spec), "cpu")
    with torch.no_grad():
        logits = model(batch)[0].masked_fill(~batch.candidate_mask, -torch.inf)
    nll = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch.road_label.flatten(), reduction="none"
    ).view(batch.road_label.shape)
    for row in range(len(spec)):
        first = offsets[spec.trip_id[row]] + spec.crop_start[row]
        length = int(spec.trace_len[row])
        np.testing.assert_allclose(
            found.route[first : first + length], nll[row, :length].numpy(), atol=1e-5
        )


def test_an_impossible_turn_is_the_greatest_surprise(
    network: RoadNetwork, train: TripDataset
) -> None:
    roads, times = as_trips(train).trip(0)
    broken = roads.copy()
    broken[1] = (broken[1] + network.num_roads // 2) % network.num_roads
    found = TransitionJudge(train).surprises(
        Trips.from_lengths(broken, times, np.array([len(roads)]))
    )
    assert found.route.max() == IMPOSSIBLE_NATS


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cell_shift"])
def test_anomalies_could_be_driven(kind: str, network: RoadNetwork, train: TripDataset) -> None:
    trips = as_trips(train)
    injector = Injector(network, UsualTimes.of(trips, network))
    metres = lambda some: np.add.reduceat(network.length_m[some.road_ids], some.offsets[:-1])  # noqa: E731
    for one in injector.inject(trips, [kind], share=0.2):  # type: ignore[list-item]
        if not len(one.trips):
            continue
        before = trips.select(one.source)
        assert (one.trips.origin == before.origin).all()
        assert (one.trips.destination == before.destination).all()
        assert (np.diff(one.trips.times) >= 0)[np.setdiff1d(
            np.arange(len(one.trips.times) - 1), one.trips.offsets[1:-1] - 1)].all()  # fmt: skip
        for index in range(len(one.trips)):
            roads, _ = one.trips.trip(index)
            for first, second in itertools.pairwise(roads.tolist()):
                assert second in network.candidates(first)
        if kind in ("detour", "loop"):
            extra = metres(one.trips) / metres(before) - 1
            assert (np.abs(extra / one.severity - 1) <= 0.3 + 1e-9).all()
        if kind == "slow":
            last = one.trips.offsets[1:] - 1
            lasted = (one.trips.times[last] - one.trips.start_time).astype(float)
            usual = (before.times[before.offsets[1:] - 1] - before.start_time).astype(float)
            np.testing.assert_allclose(lasted, usual * (1 + one.severity), atol=1.0)
    again = Injector(network, UsualTimes.of(trips, network)).inject(trips, [kind], share=0.2)  # type: ignore[list-item]
    assert all(len(one.trips.road_ids) == len(one.trips.times) for one in again)


def test_injection_is_deterministic(network: RoadNetwork, train: TripDataset) -> None:
    trips = as_trips(train)
    usual = UsualTimes.of(trips, network)
    hashes = [
        [one.trips.content_hash for one in Injector(network, usual, seed=4).inject(trips)]
        for _ in range(2)
    ]
    assert hashes[0] == hashes[1]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 60), st.integers(2, 60))
def test_areas_equal_a_second_implementation(seed: int, normal: int, anomalous: int) -> None:
    rng = np.random.default_rng(seed)
    one = rng.integers(0, 12, normal).astype(np.float64)
    two = rng.integers(2, 15, anomalous).astype(np.float64)
    above = (two[:, None] > one).mean() + 0.5 * (two[:, None] == one).mean()
    assert roc_auc(one, two) == pytest.approx(above)
    thresholds = np.unique(np.concatenate([one, two]))[::-1]
    area, before = 0.0, 0.0
    for limit in thresholds:
        hits, false = (two >= limit).sum(), (one >= limit).sum()
        area += (hits - before) / anomalous * hits / (hits + false)
        before = hits
    assert pr_auc(one, two) == pytest.approx(area)


def test_detection_of_known_cases() -> None:
    rng = np.random.default_rng(1)
    normal, copies, strange = rng.normal(size=400), rng.normal(size=400), rng.normal(9, 1, 100)
    draws = Draws.of(400, 400, 0)
    same = detect(normal, copies, 3.0, draws)
    assert same.roc_interval is not None
    assert same.roc_interval.low < 0.5 < same.roc_interval.high
    clear = detect(normal, strange, 4.0)
    assert clear.roc_auc == pytest.approx(1.0, abs=1e-6)
    assert clear.recall == 1.0 and clear.precision == 1.0
    better = compare_auc((normal, copies), (normal, copies + 2), draws)
    assert better.difference > 0.3 and better.p < 0.01
    equal = compare_auc((normal, copies), (normal, copies), draws)
    assert equal.difference == 0 and equal.p == 1.0
    assert published_rule(normal, strange).f1 == pytest.approx(1.0, abs=0.01)


def test_percentiles_are_uniform_among_normal_trips() -> None:
    rng = np.random.default_rng(2)

    def normal(count: int) -> tuple[np.ndarray, Surroundings]:
        decisions = rng.integers(3, 60, count)
        support = rng.choice([0, 4, 50], count)
        values = decisions * 0.3 * (1 + (support == 0)) + rng.gamma(2.0, np.sqrt(decisions))
        return values, Surroundings(decisions, support)

    # One calibration of 2,000 trips has a deviation of about 0.012 at the median.
    fits = [Calibration.fit(*normal(2000)) for _ in range(8)]
    shares = [percentile(calibration.level(*normal(5000))) for calibration in fits]
    for limit, within in ((0.5, 0.015), (0.8, 0.015), (0.95, 0.0075), (0.99, 0.004)):
        above = np.mean([(share > limit).mean() for share in shares])
        assert above == pytest.approx(1 - limit, abs=within)
    calibration = fits[0]
    values, around = normal(5)
    beyond = calibration.level(values + 1e4, around)
    assert (calibration.level(values + 2e4, around) > beyond).all()
    with pytest.raises(UserError, match="normal trips"):
        Calibration.fit(*normal(5))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 6))
def test_windows_and_ranks_by_hand(seed: int, lengths: list[int], width: int) -> None:
    values = np.random.default_rng(seed).normal(size=sum(lengths))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    largest = largest_window(values, offsets, width)
    places = most_surprising(values, offsets, 3)
    for trip, (first, last) in enumerate(itertools.pairwise(offsets.tolist())):
        own = values[first:last]
        sums = [own[i : i + width].sum() for i in range(max(1, len(own) - width + 1))]
        assert largest[trip] == pytest.approx(max(sums))
        expected = np.argsort(-own)[:3].tolist()
        assert places[trip].tolist() == expected + [-1] * (3 - len(expected))


def test_perplexity_equals_that_of_the_published_logits(parity_dir: Path, tmp_path: Path) -> None:
    """From the logits that LM-TAD's own code gave, and from those of its checkpoint in ours."""
    out = np.load(parity_dir / "lmtad_out.npz")
    tokens, logits = torch.from_numpy(out["tokens"]), torch.from_numpy(out["logits"])
    length = torch.full((len(tokens),), tokens.shape[1])
    weights = tmp_path / "weights.pt"
    export(["--ckpt_in", str(parity_dir / "lmtad_ckpt.pt"), "--ckpt_out", str(weights)])
    with torch.no_grad():
        ours = build_lmtad(load_weights(weights)).eval()(tokens)
    probability = torch.softmax(logits[:, :-1].double(), -1)
    taken = probability.gather(-1, tokens[:, 1:].unsqueeze(-1)).squeeze(-1)
    expected = -taken.log().sum(-1) / (tokens.shape[1] - 1)
    for each in (logits, ours):
        found = token_log_perplexity(each, tokens, length)
        torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_perplexity_of_trips_is_that_of_each_alone(
    tiny_city: Path, network: RoadNetwork, train: TripDataset
) -> None:
    teacher = road_teacher(random_teacher(tiny_city), network)
    trips = as_trips(train).select(np.arange(6))
    together = log_perplexity(teacher, trips)
    lmtad = teacher.teacher
    for trip in range(6):
        roads = trips.trip(trip)[0].astype(np.int64).tolist()
        tokens = torch.tensor([[lmtad.sot_id, *roads, lmtad.config.eot_id]])
        with torch.no_grad():
            logits = lmtad.model(tokens)
        own = token_log_perplexity(logits, tokens, torch.tensor([len(tokens[0])]))
        assert together[trip] == pytest.approx(float(own[0]), abs=1e-5)


def test_perplexity_keeps_to_its_memory(
    tiny_city: Path, network: RoadNetwork, train: TripDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = road_teacher(random_teacher(tiny_city), network)
    model, trips = teacher.teacher.model, as_trips(train).select(np.arange(40))
    at_once = log_perplexity(teacher, trips)
    limit = 3 * teacher.teacher.config.vocab_size * (int(trips.lengths.max()) + 2)
    monkeypatch.setattr(perplexity, "_LOGITS_AT_ONCE", limit)
    sizes: list[int] = []
    with model.register_forward_hook(lambda _, __, logits: sizes.append(logits.numel())):
        in_parts = log_perplexity(teacher, trips)
    np.testing.assert_allclose(in_parts, at_once, atol=1e-5)
    assert len(sizes) > 3 and max(sizes) <= limit


def test_the_program_scores_compares_and_writes(
    city: Path, student_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = random_teacher(city)
    arguments = ["--model", str(teacher), str(student_file), "--data_dir", str(city)]
    arguments += ["--split", "train", "--inject", "detour,slow", "--format", "csv"]
    assert main([*arguments, "--output", str(tmp_path / "out")]) == 0
    table = pl.read_csv(tmp_path / "out" / "trips.csv")
    models = table["model"].unique().to_list()
    assert len(models) == 5  # the teacher's perplexity and two simple methods among them
    assert table["route_percentile"].is_between(0, 1).all()
    summary = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {study["kind"] for study in summary["studies"]} == {"detour", "slow"}
    page = (tmp_path / "out" / "scores.html").read_text()
    assert "<script" in page and '"expected":' in page
    rules = [study["published"] for study in summary["studies"] if study["aspect"] == "route"]
    assert all(0 <= rule["f1"] <= 1 for each in rules for rule in each.values()) and any(rules)
    features = json.loads((tmp_path / "out" / "trips.geojson").read_text())["features"]
    assert len(features) == len(table) // 5
    assert "detour" in capsys.readouterr().out


def test_groups_over_seeds_equal_the_models_own_figures(
    city: Path, student_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = []
    for group in ("plain", "taught"):
        for seed in (1, 2):
            models.append(tmp_path / f"seed{seed}_{group}" / "best.pth")
            models[-1].parent.mkdir()
            shutil.copyfile(student_file, models[-1])
    arguments = ["--model", *map(str, models), "--data_dir", str(city), "--split", "train"]
    arguments += ["--inject", "detour", "--no-report", "--max_trips", "150"]
    groups = ["--groups", "plain=*_plain", "taught=*_taught"]
    assert main([*arguments, *groups, "--output", str(tmp_path / "out")]) == 0
    found = json.loads((tmp_path / "out" / "groups.json").read_text())
    assert list(found["groups"])[:2] == ["plain", "taught"]
    assert found["groups"]["plain"] == found["groups"]["taught"] == ["1", "2"]
    assert "most frequent transition" in found["groups"]  # beside them, and in no test
    assert {(test["first"], test["second"]) for test in found["tests"]} == {("plain", "taught")}
    assert all(test["difference"] == 0 and test["paired"] for test in found["tests"])
    studies = json.loads((tmp_path / "out" / "scores.json").read_text())["studies"]
    own = studies[0]["models"]["seed1_plain"]["roc_auc"]
    assert own in found["summaries"][0]["by_seed"].values()
    assert "seeds" in capsys.readouterr().out
    with pytest.raises(UserError, match="No model matches the group x"):
        main([*arguments, "--groups", "x=nothing"])


def some_step_costs(network: RoadNetwork) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.1, 1.0, len(network.reach_targets))


@pytest.mark.parametrize("kind", ["student", "student that knows the way", "teacher"])
def test_running_trips_are_judged_as_whole_ones(
    kind: str, city: Path, network: RoadNetwork, train: TripDataset, tmp_path: Path
) -> None:
    trips = as_trips(train)
    normality = Normality.of(network, trips, trips)
    judge_: Judge
    reader: Reader
    if kind.startswith("student"):
        torch.manual_seed(0)
        model = HOSER(tiny_config(city, tmp_path, trajectory_encoder_config__max_len=80), network)
        way = None if kind == "student" else KnownWay(network, some_step_costs(network), 0.7)
        statistics = train.time_mean, train.time_std
        judge_ = StudentJudge("student", model.eval(), network, statistics, way=way)
        reader = StudentReader(model, network, way)
    else:
        teacher = road_teacher(random_teacher(city), network)
        judge_, reader = TeacherJudge("teacher", teacher, network), TeacherReader(teacher, network)
    running = RunningScores.of(reader, judge_, normality)
    few = trips.select(np.array([3, 8, 20]))
    keys = np.arange(3)
    origin, destination = few.origin.astype(np.int64), few.destination.astype(np.int64)
    running.begin(keys, origin, destination, few.start_time)
    found: list[list[float]] = [[], [], []]
    for place in range(1, int(few.lengths.max())):
        going = np.flatnonzero(few.lengths > place)
        at = few.offsets[going] + place
        standing = running.turn(keys[going], few.road_ids[at].astype(np.int64), few.times[at])
        assert ((standing.percentile >= 0) & (standing.percentile < 1)).all()
        for key, nats in zip(going.tolist(), standing.surprise.tolist(), strict=True):
            found[key].append(nats)
    whole = judge_.surprises(few).route
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-4)
    running.end(keys)
    with pytest.raises(UserError, match="has not begun"):
        running.turn(keys[:1], destination[:1], few.start_time[:1])


def test_slow_trips_are_surprising_in_their_times(
    city: Path, student_file: Path, network: RoadNetwork, train: TripDataset
) -> None:
    judge_ = open_judge(
        student_file, "student", Config(data_dir=str(city)), network, "full", torch.device("cpu")
    )
    trips = as_trips(train)
    waited = trips.times - np.repeat(trips.start_time, trips.lengths)
    slow = Trips(trips.road_ids, trips.times + 5 * waited, trips.offsets)
    usual, found = judge_.surprises(trips).times, judge_.surprises(slow).times
    assert usual is not None and found is not None
    assert abs(usual.score.mean()) < 0.3 < found.score.mean()
    assert found.density.mean() > usual.density.mean()


def test_drivers_out_of_character_are_labelled(tiny_city: Path, tmp_path: Path) -> None:
    assert characters(["--data_dir", str(tiny_city), "--out", str(tmp_path), "--share", "0.4"]) == 0
    rows = (tmp_path / "labels.csv").read_text().splitlines()[1:]
    network = RoadNetwork.load(tiny_city)
    trips = read_any_trips(tmp_path / "trips.csv", network)  # checks that roads are joined
    test = as_trips(TripDataset.load(tiny_city, "test", network))
    assert len(rows) == len(trips) == len(test)
    assert (trips.origin == test.origin).all() and (trips.destination == test.destination).all()
    for number, row in enumerate(rows):
        same = np.array_equal(trips.trip(number)[0], test.trip(number)[0])
        assert same == (row.strip('"') == "")


def test_trips_of_ones_own_may_be_parquet(
    tiny_city: Path, tmp_path: Path, network: RoadNetwork
) -> None:
    pl.read_csv(tiny_city / "test.csv").write_parquet(tmp_path / "trips.parquet")
    found = read_any_trips(tmp_path / "trips.parquet", network)
    written = read_any_trips(tiny_city / "test.csv", network)
    assert found.content_hash == written.content_hash


@pytest.mark.parametrize(
    "text", ["label\n\nloop\n\n", "\ufefflabel\n0\nloop\n\n\n\n", "trip,label\n0,\n1,loop\n2,\n\n"]
)
def test_labels_may_be_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    assert read_labels(path, 3).tolist() == ["", "loop", ""]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("trip,label\n0,loop\n1\n", "row 2 ends before its label"),
        ("label\nloop\n", "1 labels for 2 trips"),
        ("", "no column"),
    ],
)
def test_labels_that_lack_a_trip_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=reason):
        read_labels(tmp_path / "labels.csv", 2)


def test_bad_rows_are_left_out_where_asked(city: Path, tmp_path: Path) -> None:
    asked = ScoreRequest(models=[], data_dir=city, split="train")
    expected = score(asked)
    other = Path(shutil.copytree(city, tmp_path / "other"))
    for split in ("train", "val"):
        with (other / f"{split}.csv").open("a") as file:
            file.write("not a trip\n")
    asked = replace(asked, data_dir=other)
    with pytest.raises(UserError, match="on_bad_rows"):
        score(asked)
    for file_of_trips in (None, other / "train.csv"):
        found = score(replace(asked, trips_file=file_of_trips, on_bad_rows="skip"))
        assert found.trips.content_hash == expected.trips.content_hash


def test_labels_of_ones_own(city: Path, tmp_path: Path) -> None:
    trips = TripDataset.load(city, "train", RoadNetwork.load(city))
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label"])
        writer.writerows([["fraud" if i % 8 == 0 else "0"] for i in range(len(trips))])
    request = ScoreRequest(models=[], data_dir=city, split="train", labels=tmp_path / "labels.csv")
    result = score(request)
    assert {study.kind for study in result.studies} == {"fraud"}
    assert all(0 <= each.roc_auc <= 1 for s in result.studies for each in s.models.values())
    text = (tmp_path / "labels.csv").read_text()
    (tmp_path / "labels.csv").write_text(text.replace("fraud", "fra\0ud", 1))
    with pytest.raises(UserError, match="labels"):
        score(request)


def test_a_trip_without_a_decision_is_no_surprise(city: Path, network: RoadNetwork) -> None:
    only = np.flatnonzero(network.out_degree == 1)
    pairs = [(road, int(network.candidates(road)[0])) for road in only.tolist()]
    once, never = np.ones(len(only), dtype=np.int64), np.zeros(len(only), dtype=np.int64)
    start = Trips.from_lengths(only.astype(np.int32), never, once)
    turn = Trips.from_lengths(
        np.array(pairs, dtype=np.int32).reshape(-1),
        np.tile([0, 10], len(pairs)),
        np.full(len(pairs), 2),
    )
    train, val = (as_trips(TripDataset.load(city, each, network)) for each in ("train", "val"))
    scorer = JudgeScorer(SureOfItself(network), Normality.of(network, train, val))
    for trips in (start, turn):
        found = scorer.scores(trips).aspects["route"]
        assert len(trips) and not found.level.any() and not found.percentile.any()


class SureOfItself:
    """A judge that is less surprised than it expects to be wherever there is a choice."""

    name = "sure"

    def __init__(self, network: RoadNetwork) -> None:
        self.network = network

    def surprises(self, trips: Trips) -> Surprises:
        found = Surprises.empty(int(position_offsets(trips)[-1]), with_times=False)
        left = np.delete(np.arange(len(trips.road_ids)), trips.offsets[1:] - 1)
        ways = self.network.out_degree[trips.road_ids[left]]
        found.entropy[:] = np.log(ways)
        found.route[:] = 0.1 * found.entropy * (1 + 0.1 * np.sin(left))
        return found


def test_anomalies_too_few_to_measure_are_named(
    city: Path, caplog: pytest.LogCaptureFixture
) -> None:
    request = ScoreRequest(models=[], data_dir=city, split="train", inject=["slow"], max_trips=40)
    assert not score(request).studies
    told = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [text.split(" is found")[0] for text in told] == [
        f"How well slow {severity:g}" for severity in SEVERITIES["slow"]
    ]
    assert all("2 such trips and 38 normal ones" in text for text in told)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alarm_rate": 0.0}, "alarm rate"),
        ({"inject": ["flight"]}, "flight"),
        ({"models": ["missing.pth"]}, "missing.pth"),
        ({"trips_file": "missing.csv"}, "missing.csv"),
        ({"labels": "missing.csv"}, "missing.csv"),
        ({"models": [], "yardsticks": False}, "at least one model"),
    ],
)
def test_mistakes_are_said(city: Path, change: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"models": [], "data_dir": city, "split": "train", **change}
    with pytest.raises(UserError, match=message):
        score(ScoreRequest(**values))  # type: ignore[arg-type]


def test_trips_are_scored_some_at_a_time_as_at_once(
    network: RoadNetwork, train: TripDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trips = as_trips(train)
    scorer = JudgeScorer(TransitionJudge(train), Normality.of(network, trips, trips))
    whole = scorer.scores(trips)
    monkeypatch.setattr("critics.scoring.scores.TRIPS_AT_ONCE", 7)
    pieces = scorer.scores(trips)
    assert pieces.route is not None and whole.route is not None
    np.testing.assert_allclose(pieces.route.total, whole.route.total, atol=1e-9)
    np.testing.assert_allclose(pieces.route.stretch, whole.route.stretch, atol=1e-9)
    np.testing.assert_array_equal(pieces.route.strangest, whole.route.strangest)


def test_batches_on_several_threads_are_judged_as_on_one(
    tiny_city: Path, network: RoadNetwork, train: TripDataset, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model = HOSER(tiny_config(tiny_city, tmp_path), network)
    judge_ = StudentJudge("student", model, network, (train.time_mean, train.time_std))
    trips = as_trips(train)
    few = Trips.from_lengths(
        np.tile(trips.road_ids, 4), np.tile(trips.times, 4), np.tile(trips.lengths, 4)
    )
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = judge_.surprises(few)
        torch.set_num_threads(2)
        together = judge_.surprises(few)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(together.route, alone.route, atol=1e-5)
    np.testing.assert_array_equal(together.likeliest, alone.likeliest)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a/teacher.pt", "save/city/seed1/best.pth"], ["teacher", "seed1"]),
        (["x/seed1/best.pth", "y/seed1/best.pth"], ["x/seed1", "y/seed1"]),
        (["best.pth"], ["best"]),
        (["runs/v1.5/best.pth"], ["v1.5"]),
    ],
)
def test_models_have_short_names(files: list[str], names: list[str]) -> None:
    assert unique_names([Path(file) for file in files]) == names
