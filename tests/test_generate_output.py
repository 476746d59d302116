"""OD pairs, the generated file, resuming, several processes, and the user's mistakes."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gene
from config import Config
from config.generation import Execution, PairSettings, SearchSettings
from config.schema import TrainingConfig
from data.road_network import RoadNetwork
from dataset import TripDataset
from gene import generate
from hoser import HOSER
from metrics.generated import read_generated
from runtime.errors import UserError
from runtime.hashing import draw
from search.generation import GenerationResult
from search.od import ListedOD, SampledOD
from search.workers import share_out
from search.writer import COLUMNS
from tests.generation_helpers import epoch, read_rows
from tests.programs import TIMEOUT_S, call, forked_workers, free_port, rank_environment
from tests.wandb_helpers import read_wandb

NUM_TRIPS = 40


@pytest.fixture(scope="module")
def model(tiny_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A student that has learned nothing."""
    torch.manual_seed(0)
    student = HOSER(Config(data_dir=str(tiny_city)), RoadNetwork.load(tiny_city))
    path = tmp_path_factory.mktemp("model") / "student.pth"
    torch.save(student.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def whole(tiny_city: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of an undisturbed run."""
    output = tmp_path_factory.mktemp("whole") / "trips.csv"
    run(tiny_city, model, output)
    return output


def run(
    city: Path, model: Path, output: Path, num_gene: int | None = NUM_TRIPS, **options: Any
) -> GenerationResult:
    """A run with the options of search, pairs and execution by their names."""
    seed = options.pop("seed", 5)
    chosen: dict[Any, Any] = {
        kind: kind(**{f.name: options.pop(f.name) for f in fields(kind) if f.name in options})
        for kind in (SearchSettings, PairSettings, Execution)
    }
    assert not options
    return generate(
        Config(data_dir=str(city), training=TrainingConfig(seed=seed, device="cpu")),
        model_path=model,
        num_gene=num_gene,
        output=output,
        search=chosen[SearchSettings],
        pairs=chosen[PairSettings],
        execution=chosen[Execution],
    )


def test_the_file_is_as_the_original_writes_it_with_our_columns(
    tiny_city: Path, whole: Path
) -> None:
    rows = read_rows(whole)
    assert len(rows) == NUM_TRIPS and list(rows[0]) == COLUMNS
    network = RoadNetwork.load(tiny_city)
    for row in rows:
        roads = json.loads(row["gene_trace_road_id"])
        times = json.loads(row["gene_trace_datetime"].replace("'", '"'))
        assert len(roads) == len(times) and roads[0] == int(row["origin"])
        assert (roads[-1] == int(row["destination"])) == (row["reached"] == "True")
        assert all(time.endswith("Z") for time in times)
        assert epoch(times[-1]) - epoch(times[0]) == int(row["seconds"])
        assert all(b in network.candidates(a) for a, b in itertools.pairwise(roads))
        assert float(row["log_prob"]) <= 0
    generated = read_generated(whole, network)
    assert len(generated) == NUM_TRIPS and not generated.unjoined.any()


def test_the_figures_beside_the_file(tiny_city: Path, model: Path, tmp_path: Path) -> None:
    result = run(tiny_city, model, tmp_path / "trips.csv")
    known = json.loads(result.performance.read_text())
    rows = read_rows(result.output)
    assert known["status"] == "complete"
    assert known["trips"] == result.trips == len(rows)
    assert known["reached"] == sum(row["reached"] == "True" for row in rows)
    assert known["forward_passes"] > 0 and known["encoded_positions"] >= NUM_TRIPS
    assert known["trips_per_second"] > 0
    assert known["request"]["seed"] == 5


def test_the_file_depends_on_nothing_but_the_request(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    for options in ({"batch_size": 3}, {"batch_size": 64}, {"processes": 2}):
        output = tmp_path / "trips.csv"
        with forked_workers():
            run(tiny_city, model, output, **options)
        assert output.read_bytes() == whole.read_bytes(), options
    assert not list(tmp_path.glob("*.part-*"))
    run(tiny_city, model, output, seed=6)
    assert output.read_bytes() != whole.read_bytes()


@pytest.mark.parametrize("cut", [0, 10, 72, 100, 5000, -1])
def test_a_killed_run_resumes_to_the_same_file(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path, cut: int
) -> None:
    output = tmp_path / "trips.csv"
    output.write_bytes(whole.read_bytes()[:cut])
    output.with_suffix(".json").write_bytes(whole.with_suffix(".json").read_bytes())
    result = run(tiny_city, model, output, resume=True)
    assert output.read_bytes() == whole.read_bytes()
    assert result.trips == NUM_TRIPS and result.resumed < NUM_TRIPS


def test_parts_of_killed_processes_are_taken_up(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    lines = whole.read_bytes().splitlines(keepends=True)
    output = tmp_path / "trips.csv"
    output.write_bytes(b"".join(lines[:8]) + lines[8][:30])
    output.with_suffix(".json").write_bytes(whole.with_suffix(".json").read_bytes())
    # Requests 5 to 9, of which the file has the first two already, and 20 to 29 with a torn row.
    for first, last, torn in ((5, 10, b""), (20, 30, lines[31][:5])):
        part = output.with_name(f"trips.csv.part-{first:012d}")
        part.write_bytes(b"".join(lines[first + 1 : last + 1]) + torn)
    result = run(tiny_city, model, output, resume=True)
    assert output.read_bytes() == whole.read_bytes()
    assert result.encoded_positions > 0 and not list(tmp_path.glob("*.part-*"))


def test_a_finished_run_resumes_to_itself(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "trips.csv"
    first = run(tiny_city, model, output)
    again = run(tiny_city, model, output, resume=True)
    assert output.read_bytes() == whole.read_bytes()
    assert again.resumed == NUM_TRIPS and again.reached == first.reached
    more = run(tiny_city, model, output, resume=True, num_gene=NUM_TRIPS + 5)
    assert more.trips == NUM_TRIPS + 5
    assert output.read_bytes().startswith(whole.read_bytes())


def test_another_request_is_not_resumed(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    output = tmp_path / "trips.csv"
    run(tiny_city, model, output)
    before = output.read_bytes()
    for options in ({"seed": 6}, {"beam_width": 2}, {"name": "astar"}, {"max_steps": 3}):
        with pytest.raises(UserError, match="another request"):
            run(tiny_city, model, output, resume=True, **options)
    with pytest.raises(UserError, match="more rows"):
        run(tiny_city, model, output, resume=True, num_gene=3)
    assert output.read_bytes() == before
    output.with_suffix(".json").unlink()
    with pytest.raises(UserError, match="says what it was"):
        run(tiny_city, model, output, resume=True)


def test_rows_of_other_trips_are_found_out(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    lines = whole.read_bytes().splitlines(keepends=True)
    output = tmp_path / "trips.csv"
    output.with_suffix(".json").write_bytes(whole.with_suffix(".json").read_bytes())
    for wrong in ([lines[0], lines[2], lines[1]], [lines[0], b"what\n"], [b"a,b\n"]):
        output.write_bytes(b"".join(wrong))
        with pytest.raises(UserError, match=r"cannot be resumed|not a file of generated"):
            run(tiny_city, model, output, resume=True)


@pytest.mark.parametrize("search", ["astar", "shortest_path"])
def test_an_od_file_is_answered_in_its_order(
    tiny_city: Path, model: Path, tmp_path: Path, search: str
) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(
        "origin,destination,start\n"
        "3,90,2015-11-06T23:59:50Z\n"
        "17,17,2015-11-07T00:00:00\n"
        "120,5,2015-11-07T12:00:00+08:00\n"
    )
    result = run(tiny_city, model, tmp_path / "t.csv", file=pairs, name=search, num_gene=None)
    rows = read_rows(result.output)
    assert [(row["origin"], row["destination"]) for row in rows] == [
        ("3", "90"), ("17", "17"), ("120", "5")
    ]  # fmt: skip
    assert rows[1]["gene_trace_road_id"] == "[17]"
    assert rows[1]["gene_trace_datetime"] == "['2015-11-07T00:00:00Z']"
    assert rows[2]["gene_trace_datetime"].startswith("['2015-11-07T12:00:00Z'")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("origin,destination\n1,2\n", "column start is missing"),
        ("origin,destination,start\n1,900000,2015-11-07T00:00:00Z\n", ":2: destination is road"),
        ("origin,destination,start\none,2,2015-11-07T00:00:00Z\n", ":2: origin is 'one'"),
        ("origin,destination,start\n1,2,noon\n", ":2: start is 'noon'"),
        ("origin,destination,start\n", "has no rows"),
    ],
)
def test_a_bad_od_file_is_named_with_its_line(
    tiny_city: Path, tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(text)
    with pytest.raises(UserError, match=reason):
        ListedOD.read(file, RoadNetwork.load(tiny_city), None)


def test_pairs_are_drawn_by_frequency_with_start_times_of_the_trips(tiny_city: Path) -> None:
    trips = TripDataset.load(tiny_city, "train", RoadNetwork.load(tiny_city))
    source = SampledOD(trips, 200_000, seed=1)
    found: Counter[tuple[int, int, int]] = Counter()
    for block in source.requests(0, len(source)):
        columns = (block.origin.tolist(), block.destination.tolist(), block.start.tolist())
        found.update(zip(*columns, strict=True))
    real: Counter[tuple[int, int, int]] = Counter()
    for number in range(len(trips)):
        roads, times = trips.trip(number)
        real[int(roads[0]), int(roads[-1]), int(times[0])] += 1
    assert set(found) == set(real)
    for key, count in real.items():
        assert found[key] / 200_000 == pytest.approx(count / len(trips), rel=0.2)


@given(st.integers(0, 2**63), st.integers(1, 2**31), st.integers(0, 10**9))
def test_a_draw_depends_on_seed_and_number_alone(seed: int, limit: int, first: int) -> None:
    together = draw(seed, np.arange(first, first + 20), limit)
    alone = [int(draw(seed, np.array([first + i]), limit)[0]) for i in range(20)]
    assert together.tolist() == alone
    assert all(0 <= value < limit for value in alone)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), max_size=5), st.integers(1, 7))
@settings(deadline=None)
def test_shares_cover_what_is_missing_evenly(gaps: list[tuple[int, int]], num_shares: int) -> None:
    ranges, position = [], 0
    for gap, size in gaps:
        ranges.append((position + gap, position + gap + size))
        position += gap + size
    shares = share_out(ranges, num_shares)
    covered = [number for share in shares for begin, end in share for number in range(begin, end)]
    assert covered == [number for begin, end in ranges for number in range(begin, end)]
    sizes = [sum(end - begin for begin, end in share) for share in shares]
    assert len(sizes) == num_shares and max(sizes) - min(sizes) <= 1


def generate_as_rank(city: Path, model: Path, output: Path) -> None:
    torch.set_num_threads(1)
    run(city, model, output)


def test_torchrun_gives_the_same_file(
    tiny_city: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    port, output = free_port(), tmp_path / "trips.csv"
    places = (tiny_city, model, output)
    ranks = [call(generate_as_rank, *places, **rank_environment(i, 2, port)) for i in range(2)]
    for rank in ranks:
        assert rank.wait(TIMEOUT_S) == 0, rank.communicate()
    assert output.read_bytes() == whole.read_bytes()
    figures = json.loads(output.with_suffix(".json").read_text())
    assert figures["processes"] == 2 and figures["trips"] == NUM_TRIPS
    assert not list(tmp_path.glob("*.part-*"))


def test_a_checkpoint_of_another_city_is_refused(
    tiny_city: Path, parity_dir: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"trained with 202 roads|does not fit"):
        run(tiny_city, parity_dir / "hoser_state.pth", tmp_path / "t.csv")


def test_the_best_student_of_training_is_found(
    tiny_city: Path, model: Path, tmp_path: Path
) -> None:
    config = Config(
        dataset="tiny",
        data_dir=str(tiny_city),
        save_dir=str(tmp_path / "save"),
        training=TrainingConfig(seed=5, device="cpu"),
    )
    with pytest.raises(UserError, match=r"no trained student.*seed5_distill"):
        generate(config=config, num_gene=2, output=tmp_path / "t.csv")
    best = tmp_path / "save" / "tiny" / "seed5" / "best.pth"
    best.parent.mkdir(parents=True)
    best.write_bytes(model.read_bytes())
    result = generate(config=config, num_gene=2, output=tmp_path / "t.csv")
    assert result.trips == 2


def test_architecture_and_angles_come_from_the_checkpoint(tiny_city: Path, tmp_path: Path) -> None:
    config = Config(data_dir=str(tiny_city))
    encoder = config.trajectory_encoder_config.model_copy(
        update={"num_heads": 4, "num_layers": 1, "max_len": 50}
    )
    data = config.data.model_copy(update={"angle_convention": "geographic"})
    config = config.model_copy(update={"trajectory_encoder_config": encoder, "data": data})
    student = HOSER(config, RoadNetwork.load(tiny_city, "geographic"))
    content = {"model": student.state_dict(), "config": config.model_dump(by_alias=True)}
    torch.save(content, tmp_path / "s.pth")
    result = run(tiny_city, tmp_path / "s.pth", tmp_path / "t.csv", num_gene=3)
    request = json.loads(result.performance.read_text())["request"]
    assert request["angle_convention"] == "geographic"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"beam_width": 0}, "beam_width is 0"),
        ({"num_gene": 0}, "num_gene is 0"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"processes": 0}, "processes is 0"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"name": "dfs"}, "search is 'dfs'; allowed: beam, astar, sample, shortest_path"),
        ({"split": "all"}, "od_source is 'all'; allowed: train, val, test, model"),
        ({"file": Path("nowhere.csv")}, "nowhere.csv does not exist"),
    ],
)
def test_mistakes_are_one_clear_line(
    tiny_city: Path, model: Path, tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        run(tiny_city, model, tmp_path / "t.csv", **options)


def test_the_output_has_one_writer(tiny_city: Path, model: Path, tmp_path: Path) -> None:
    from search.writer import TripWriter

    with (
        TripWriter(tmp_path / "t.csv", append=True),
        pytest.raises(UserError, match="being written by another run"),
    ):
        run(tiny_city, model, tmp_path / "t.csv")


def test_a_part_whose_writer_is_ending_is_waited_for(
    tiny_city: Path, model: Path, tmp_path: Path
) -> None:
    from search.output import part_path
    from search.writer import TripWriter

    output = tmp_path / "t.csv"
    run(tiny_city, model, output, num_gene=6)
    whole = output.read_bytes()
    orphan = TripWriter(part_path(output, 3), append=False, header=False)
    ending = threading.Timer(0.5, orphan.close)
    ending.start()
    run(tiny_city, model, output, num_gene=6, resume=True)
    ending.join()
    assert output.read_bytes() == whole


def test_the_program_and_its_aliases(
    tiny_city: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--dataset", "mine", "--data_dir", str(tiny_city), "--model_path", str(model)]
    base += ["--num_gene", "3", "--device", "cpu", "--od_source", "train", "--no-progress"]
    for flags, label in ((["--nx_astar"], "shortest_path"), (["--beam_search"], "beam4")):
        output = tmp_path / f"{label}.csv"
        gene.main([*base, *flags, "--output", str(output)])
        assert json.loads(output.with_suffix(".json").read_text())["search"] == label
        assert len(read_rows(output)) == 3
    with pytest.raises(UserError, match="--resume needs --output"):
        gene.main([*base, "--resume"])


def test_the_trips_are_kept_with_the_run_where_asked_for(
    tiny_city: Path, model: Path, tmp_path: Path, no_accounts: None
) -> None:
    words = ["--dataset", "mine", "--data_dir", str(tiny_city), "--model_path", str(model)]
    words += ["--num_gene", "3", "--device", "cpu", "--no-progress", "--wandb"]
    words += ["--output", str(tmp_path / "trips.csv"), "--set", "wandb.log_artifacts=true"]
    gene.main(words)
    (artifact,) = [r.artifact for r in read_wandb(tmp_path) if r.HasField("artifact")]
    assert (artifact.name, artifact.type) == ("gene_student_seed0_testod_beam4", "generated-trips")
    assert [entry.path for entry in artifact.manifest.contents] == ["trips.csv"]


def test_the_configuration_says_where_the_run_is_recorded(
    tiny_city: Path, model: Path, tmp_path: Path, no_accounts: None, messages: list[str]
) -> None:
    words = ["--dataset", "mine", "--data_dir", str(tiny_city), "--model_path", str(model)]
    words += ["--num_gene", "3", "--device", "cpu", "--no-progress", "--wandb"]
    words += ["--output", str(tmp_path / "trips.csv"), "--set", "wandb.background_sync=true"]
    words += ["--set", "wandb.project=ours", "--set", "wandb.entity=team"]
    gene.main([*words, "--set", "wandb.group=beijing"])
    (run,) = [record.run for record in read_wandb(tmp_path) if record.HasField("run")][:1]
    assert (run.project, run.entity, run.run_group) == ("ours", "team", "beijing")
    assert list(run.tags) == ["generation"]
    assert any("no credentials to sync them with" in line for line in messages)
