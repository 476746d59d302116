"""Training a teacher: it learns, resumes bit for bit, describes itself; and the report on it."""

from __future__ import annotations

import itertools
import math
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from critics.lmtad import LMTAD, LMTADConfig
from critics.lmtad_teacher import LMTADTeacher
from critics.road_teacher import LMTADRoadTeacher, road_teacher
from critics.teacher_report import expected_calibration_error, teacher_report
from critics.teacher_training import TeacherOptions, train_teacher
from critics.teacher_training.examples import ExampleMaker, Examples
from critics.teacher_training.objective import Objective
from critics.teacher_training.run import TeacherRun
from critics.teacher_training.state import run_path
from critics.weights import load_weights
from data.road_network import RoadNetwork
from dataset import TripDataset
from runtime.errors import UserError
from runtime.logs import add_log_file, remove_log_file
from runtime.precision import Precision
from runtime.shutdown import ShutdownSignals, Stopped
from runtime.torch_files import load_plain
from tests.teacher_helpers import small_weights
from tools import precompute_distill_tokens, train_lmtad
from tools import teacher_report as report_tool


@pytest.fixture(scope="module")
def network(parity_city: Path) -> RoadNetwork:
    return RoadNetwork.load(parity_city)


@pytest.fixture(scope="module")
def trip_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trips")


@pytest.fixture(scope="module")
def splits(network: RoadNetwork, trip_cache: Path) -> tuple[TripDataset, TripDataset]:
    train, val = (
        TripDataset.load(network.folder, split, network, cache_dir=trip_cache)
        for split in ("train", "val")
    )
    return train, val


def options(output: Path, **changes: object) -> TeacherOptions:
    base = TeacherOptions(
        output, n_layer=1, n_head=2, n_embd=16, epochs=2, batch_size=16, progress=False
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def one_unbroken(
    network: RoadNetwork, splits: tuple[TripDataset, TripDataset], folder: Path, **changes: object
) -> tuple[TeacherOptions, TeacherOptions]:
    """What a teacher was trained with in one go, and the same for one that is to be broken off."""
    whole = options(folder / "whole.pt", checkpoint_minutes=0.0, **changes)
    train_teacher(whole, network, *splits)
    return whole, replace(whole, output=folder / "broken.pt")


@pytest.mark.parametrize("vocabulary", ["road", "grid"])
@pytest.mark.parametrize("loss", ["candidates", "vocabulary"])
def test_learns_the_trips_it_is_shown(
    network: RoadNetwork,
    splits: tuple[TripDataset, TripDataset],
    tmp_path: Path,
    vocabulary: str,
    loss: str,
) -> None:
    train, _ = splits
    chosen = options(
        tmp_path / "t.pt", vocabulary=vocabulary, loss=loss, epochs=40, dropout=0.0, n_embd=32
    )
    train_teacher(chosen, network, train, train)
    assert not run_path(chosen.output).exists()
    teacher = road_teacher(chosen.output, network)
    report = teacher_report(teacher, train, train)
    full = next(row for row in report.rows if row.name == "LM-TAD, window full")
    ceiling = report.rows[-1]
    untrained = LMTADRoadTeacher(
        LMTADTeacher(small_weights(network.num_roads, 20, True)),
        np.arange(network.num_roads),
        network,
    )
    before = teacher_report(untrained, train, train, ["full"]).rows[0]
    assert before.accuracy < full.accuracy <= ceiling.accuracy + 1e-9
    assert full.accuracy > 0.7 * ceiling.accuracy
    assert (ceiling.accuracy == 1.0) == (vocabulary == "road")
    weights = load_weights(chosen.output)
    assert weights.vocabulary == vocabulary and weights.destination_prefix
    if vocabulary == "grid":
        assert weights.grip_size == (15, 18)
        assert weights.dataset_config["min_lat"] == network.bounds.min_lat


def test_a_killed_run_resumes_bit_for_bit(
    network: RoadNetwork,
    splits: tuple[TripDataset, TripDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, val = splits
    whole, broken = one_unbroken(network, splits, tmp_path, random_start=0.5)
    step = TeacherRun.take_step

    def fail_at_seven(self: TeacherRun, examples: object) -> torch.Tensor:
        if self.step == 7:
            raise KeyboardInterrupt
        return step(self, examples)  # type: ignore[arg-type]

    monkeypatch.setattr(TeacherRun, "take_step", fail_at_seven)
    with pytest.raises(KeyboardInterrupt):
        train_teacher(broken, network, train, val)

    def stop_at_nine(self: TeacherRun, examples: object) -> torch.Tensor:
        loss = step(self, examples)  # type: ignore[arg-type]
        if self.step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    monkeypatch.setattr(TeacherRun, "take_step", stop_at_nine)
    unwatched = replace(broken, checkpoint_minutes=60.0)  # only the signal has it written
    with ShutdownSignals(), pytest.raises(Stopped):
        train_teacher(unwatched, network, train, val)
    assert load_plain(run_path(broken.output))["step"] == 9
    monkeypatch.undo()
    torch.rand(5)  # another random state than the killed run had
    with pytest.raises(UserError, match="other settings \\(learning_rate\\)"):
        train_teacher(replace(broken, learning_rate=1e-4), network, train, val)
    train_teacher(broken, network, train, val)
    first, second = load_weights(whole.output), load_weights(broken.output)
    assert first.fingerprint() == second.fingerprint()
    with pytest.raises(UserError, match="exists already"):
        train_teacher(broken, network, train, val)


def test_a_run_killed_while_it_validates_does_so_once_it_goes_on(
    network: RoadNetwork,
    splits: tuple[TripDataset, TripDataset],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train, val = splits
    whole, broken = one_unbroken(network, splits, tmp_path, epochs=1)

    def killed(self: TeacherRun, epoch: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(TeacherRun, "_validate", killed)
        train_teacher(broken, network, train, val)
    assert load_plain(run_path(broken.output))["step"] > 0
    train_teacher(broken, network, train, val)
    first, second = load_weights(whole.output), load_weights(broken.output)
    assert first.fingerprint() == second.fingerprint()


def test_a_teacher_that_diverges_is_not_written(
    network: RoadNetwork, splits: tuple[TripDataset, TripDataset], tmp_path: Path
) -> None:
    wild = options(tmp_path / "t.pt", epochs=1, learning_rate=1e38)
    with pytest.raises(UserError, match=r"never finite; lower --learning_rate \(1e\+38\)"):
        train_teacher(wild, network, *splits)
    assert not wild.output.exists()
    train_teacher(replace(wild, learning_rate=1e-3), network, *splits)
    assert wild.output.exists()


@pytest.mark.parametrize("block_size", [None, 6])
@pytest.mark.parametrize("destination_prefix", [False, True])
def test_examples_say_what_follows(
    network: RoadNetwork,
    splits: tuple[TripDataset, TripDataset],
    block_size: int | None,
    destination_prefix: bool,
) -> None:
    train, _ = splits
    config = LMTADConfig(network.num_roads + 3, block_size or 40, 1, 1, 4)
    tokens = np.arange(network.num_roads)
    maker = ExampleMaker(config, network, tokens, destination_prefix, 0.0, 0, torch.device("cpu"))
    trips = np.array([3, 8, 20])
    examples = maker(train, trips, None)
    prefix = 2 if destination_prefix else 1
    assert examples.tokens.shape[1] <= config.block_size
    for row, trip in enumerate(trips):
        roads = train.trip(int(trip))[0].tolist()
        start = [config.sot_id, roads[-1]][:prefix]
        kept = roads[: config.block_size - prefix]
        ending = [config.eot_id] if len(kept) == len(roads) else []
        wanted = [-1] * (prefix - 1) + kept + ending
        assert examples.tokens[row, : prefix + len(kept)].tolist() == start + kept
        assert [t for t in examples.targets[row].tolist() if t >= 0] == [
            t for t in wanted if t >= 0
        ]
        mine = (examples.choice_row == row).nonzero().squeeze(1).tolist()
        assert len(mine) == len(kept) - 1
        for step, choice in enumerate(mine):
            assert examples.choice_place[choice] == prefix + step
            belongs = examples.owner == choice
            candidates = examples.candidate_token[belongs].tolist()
            assert candidates == network.candidates(kept[step]).tolist()
            taken = examples.candidate_place[belongs].tolist().index(int(examples.label[choice]))
            assert candidates[taken] == kept[step + 1]


def test_gradients_do_not_depend_on_the_order_of_threads() -> None:
    config = LMTADConfig(vocab_size=40, block_size=32, n_layer=1, n_head=2, n_embd=64, dropout=0.0)
    model, (rows, places) = LMTAD(config).eval(), (23, 29)
    choices, candidates = rows * places, 3  # an odd number: two threads share a choice
    draw = torch.Generator().manual_seed(0)
    examples = Examples(
        tokens=torch.randint(37, (rows, places), generator=draw),
        targets=torch.full((rows, places), -1),
        choice_row=torch.arange(rows).repeat_interleave(places),
        choice_place=torch.arange(places).repeat(rows),
        candidate_token=torch.randint(37, (choices * candidates,), generator=draw),
        owner=torch.arange(choices).repeat_interleave(candidates),
        candidate_place=torch.arange(candidates).repeat(choices),
        candidate_shape=(choices, candidates),
        label=torch.randint(candidates, (choices,), generator=draw),
    )
    objective = Objective("candidates", Precision("cpu", None))
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = set()
        for _ in range(60):
            model.zero_grad()
            objective(model, examples).loss.backward()
            grads = [p.grad.numpy().tobytes() for p in model.parameters() if p.grad is not None]
            seen.add(hash(b"".join(grads)))
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 1


def test_the_report_against_a_loop(
    network: RoadNetwork, splits: tuple[TripDataset, TripDataset]
) -> None:
    train, val = splits
    cells = 5
    tokens = np.arange(network.num_roads) % cells
    teacher = LMTADRoadTeacher(LMTADTeacher(small_weights(cells, 12)), tokens, network)
    report = teacher_report(teacher, val, train, ["full"])
    counts: dict[tuple[int, int], int] = {}
    for index in range(len(train)):
        roads = train.trip(index)[0].tolist()
        for pair in itertools.pairwise(roads):
            counts[pair] = counts.get(pair, 0) + 1
    sums: dict[str, list[tuple[float, float]]] = {"model": [], "frequency": [], "ceiling": []}
    for index in range(len(val)):
        roads = val.trip(index)[0].tolist()
        batch = val.batch([index])
        logits = teacher.batch_logits(batch, batch.position_mask)[0]
        for t, (here, taken) in enumerate(itertools.pairwise(roads)):
            candidates = network.candidates(here).tolist()
            label = candidates.index(taken)
            rows = {
                "model": logits[t, : len(candidates)].tolist(),
                "frequency": [math.log(1 + counts.get((here, c), 0)) for c in candidates],
                "ceiling": [0.0 if c % cells == taken % cells else -1e9 for c in candidates],
            }
            for name, row in rows.items():
                top = [i for i, value in enumerate(row) if value == max(row)]
                credit = 1 / len(top) if label in top else 0.0
                total = sum(math.exp(value - row[label]) for value in row if value > -1e8)
                sums[name].append((credit, math.log(total)))
    assert report.num_positions == len(sums["model"])
    alone = [row for row in report.rows if "knowing the way" not in row.name]
    for measured, name in zip(alone, ("model", "frequency", "ceiling"), strict=True):
        accuracy, nll = np.mean(sums[name], axis=0)
        assert measured.accuracy == pytest.approx(accuracy, abs=1e-9)
        assert measured.nll == pytest.approx(nll, rel=1e-4)
    assert "most frequent transition" in report.table()


def test_calibration_error() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.3, 0.3])
    correct = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    expected = 4 / 6 * 0.15 + 2 / 6 * 0.2
    assert expected_calibration_error(confidence, correct) == pytest.approx(expected)


def test_the_programs(
    network: RoadNetwork,
    trip_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ["--data_dir", str(network.folder), "--cache_dir", str(trip_cache)]
    train = [*data, "--output", "t.pt", "--epochs", "1", "--n_embd", "16", "--n_head", "2"]
    train += ["--device", "cpu", "--no-progress", "--vocabulary", "road"]
    log = add_log_file(tmp_path / "lmtad.log")
    assert train_lmtad.main(train) == 0
    remove_log_file(log)
    assert "\nChoice of the next road" in (tmp_path / "lmtad.log").read_text()
    with pytest.raises(UserError, match="exists already"):
        train_lmtad.main(train)
    report = [*data, "--ckpt", "t.pt", "--windows", "2,full", "--json", "r.json"]
    assert report_tool.main([*report, "--device", "cpu"]) == 0
    assert "window full" in capsys.readouterr().out
    with pytest.raises(UserError, match="--windows"):
        report_tool.main([*data, "--ckpt", "t.pt", "--windows", "0"])
    Path("c.yaml").write_text(
        f"data_dir: {network.folder}\n"
        "distill: {ckpt: t.pt, vocabulary: road, destination_prefix: true, cache_dir: answers}\n"
        f"data: {{cache_dir: {trip_cache}}}\n"
    )
    run = ["--config", "c.yaml", "--device", "cpu", "--no-progress"]
    assert precompute_distill_tokens.main([*run, "--splits", "train,val"]) == 0
    assert len(list(Path("answers").glob("teacher-*/manifest.json"))) == 2
    with pytest.raises(UserError, match="--splits"):
        precompute_distill_tokens.main([*run, "--splits", "trian"])
