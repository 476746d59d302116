"""`evaluation.py` as users meet it: results, files, and what it says when something is wrong."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from config.schema import WandbConfig
from data.road_network import RoadNetwork
from evaluation import evaluate, main, track
from metrics.generated import read_generated
from metrics.reference import Settings
from runtime.errors import UserError
from tests.programs import REPOSITORY, run
from tests.wandb_helpers import read_wandb

HEADER = ["gene_trace_road_id", "gene_trace_datetime"]
TIMES = "['2015-11-05T10:00:00Z', '2015-11-05T10:00:20Z']"


@pytest.fixture(scope="module")
def city(parity_city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(parity_city, tmp_path_factory.mktemp("data") / "city"))


@pytest.fixture(scope="module")
def network(city: Path) -> RoadNetwork:
    return RoadNetwork.load(city)


def write_csv(path: Path, rows: list[list[str]], header: list[str] | None = None) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header or HEADER, *rows])
    return path


def run_program(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, str(REPOSITORY / "evaluation.py"), *arguments], cwd)


def test_evaluate_writes_the_published_numbers(
    parity_dir: Path, city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = evaluate(
        parity_dir / "generated.csv", city, report=False, settings=Settings(bootstrap=50)
    )
    assert result.folder.parent.resolve() == (tmp_path / "eval").resolve()
    published = json.loads((parity_dir / "metrics.json").read_text())
    stored = json.loads((result.folder / "results.json").read_text())
    pairs = json.loads((result.folder / "trajectory_metrics.json").read_text())
    assert stored == result.metrics
    for name, value in published.items():
        if name != "pairs":
            assert stored[name] == pytest.approx(value, abs=1e-6)
    assert len(pairs) == len(published["pairs"]) == stored["pairs"]
    for ours, theirs in zip(pairs, published["pairs"]):
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-6)
    assert result["od_match_rate"] == 1.0
    assert stored["metadata"]["od_source"] == "test"


def test_program_prints_a_table_and_writes_everything(
    parity_dir: Path, city: Path, tmp_path: Path
) -> None:
    arguments = ["--generated_file", str(parity_dir / "generated.csv"), "--data_dir", str(city)]
    done = run_program(*arguments, "--dtw", "exact", "--bootstrap", "50", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Hausdorff (km)" in done.stdout and "0.1949" in done.stdout
    (folder,) = (tmp_path / "eval").iterdir()
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert {"results.json", "trajectory_metrics.json", "report.html"} <= names
    assert "plots/distributions_test.png" in names


def test_malformed_generated_rows_are_left_out_and_counted(
    parity_dir: Path, city: Path, tmp_path: Path
) -> None:
    good = list(csv.reader((parity_dir / "generated.csv").open()))
    at_road, at_time = (good[0].index(name) for name in HEADER)
    bad = [list(good[1]) for _ in range(3)]
    bad[0][at_road] = "[1, two]"
    bad[1][at_time] = "['yesterday']"
    bad[2] = bad[2][:1]  # a row that was cut
    file = write_csv(tmp_path / "some_bad.csv", [good[1], *bad, *good[2:]], good[0])
    with pytest.raises(UserError, match=r"some_bad\.csv:[345]: "):
        evaluate(file, city, report=False, output_dir=tmp_path / "error")
    settings = Settings(bootstrap=0, on_bad_rows="skip")
    found = evaluate(file, city, report=False, output_dir=tmp_path / "skip", settings=settings)
    assert found["skipped_rows"] == 3 and found["generated_trips"] == len(good) - 1
    published = json.loads((parity_dir / "metrics.json").read_text())
    assert found["distance_jsd"] == pytest.approx(published["distance_jsd"], abs=1e-6)


def test_run_dir_gives_the_newest_generated_file_and_the_dataset(
    parity_dir: Path, city: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "gene").mkdir(parents=True)
    shutil.copy(city / "test.csv", run / "gene" / "real.csv")
    shutil.copy(parity_dir / "generated.csv", run / "gene" / "made.csv")
    (run / "config.yaml").write_text(f"data_dir: {city}\n")
    result = evaluate(run_dir=run, report=False, settings=Settings(bootstrap=0))
    assert result.metrics["metadata"]["generated_file"].endswith("made.csv")
    assert result.folder.is_relative_to(run / "eval")
    assert result.metrics["intervals"]["edr"] is None


def test_several_files_are_compared(parity_dir: Path, city: Path, tmp_path: Path) -> None:
    rows = list(csv.reader((parity_dir / "generated.csv").open()))[1:]
    real = list(csv.DictReader((city / "test.csv").open()))
    best = [[f"[{row['rid_list']}]", str(row["time_list"].split(","))] for row in real]
    first = write_csv(tmp_path / "first.csv", rows)
    second = write_csv(tmp_path / "second.csv", best)
    done = run_program(
        "--generated_file",
        str(first),
        str(second),
        "--data_dir",
        str(city),
        "--bootstrap",
        "100",
        "--output_dir",
        "out",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (comparison,) = json.loads((tmp_path / "out" / "comparison.json").read_text())
    row = next(row for row in comparison["rows"] if row["measure"] == "hausdorff_km")
    assert (row["first"], row["second"]) == ("first", "second")
    assert row["mean_second"] == 0.0 and row["mean_difference"] < 0
    assert "| second |" in (tmp_path / "out" / "comparison.md").read_text()
    assert (tmp_path / "out" / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_several_files_have_names_of_their_own(
    parity_dir: Path, city: Path, tmp_path: Path, no_accounts: None
) -> None:
    files = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for file in files:
        shutil.copy(parity_dir / "generated.csv", file)
    words = ["--generated_file", *map(str, files), "--data_dir", str(city), "--bootstrap", "0"]
    words += ["--output_dir", str(tmp_path / "out"), "--no_report", "--no_behaviour"]
    main([*words, "--wandb", "--wandb_run_name", "beijing"])
    for name in ("first", "second"):
        records = read_wandb(tmp_path / "out" / name)
        names = {record.run.display_name for record in records if record.HasField("run")}
        assert names == {f"beijing_{name}"}


def test_original_files_and_ours_are_read_alike(network: RoadNetwork, tmp_path: Path) -> None:
    plain = write_csv(tmp_path / "a.csv", [["[52, 78]", TIMES]])
    wrapped = write_csv(tmp_path / "b.csv", [["[np.int64(52), np.int64(78)]", TIMES]])
    full = write_csv(
        tmp_path / "c.csv",
        [["[52, 78]", TIMES, "52", "78", "True", "-1.5", "0.1"]],
        [*HEADER, "origin", "destination", "reached", "log_prob", "seconds"],
    )
    found = [read_generated(path, network) for path in (plain, wrapped, full)]
    assert all(each.trips.content_hash == found[0].trips.content_hash for each in found)
    assert found[0].reached is None and found[2].reached is not None
    assert found[2].reached.tolist() == [True]


def test_unjoined_roads_are_counted_not_refused(network: RoadNetwork, tmp_path: Path) -> None:
    found = read_generated(write_csv(tmp_path / "a.csv", [["[52, 3]", TIMES]]), network)
    assert found.unjoined.tolist() == [1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (["[52, x]", TIMES], "no list of road ids"),
        (["[52, -3]", TIMES], "no list of road ids"),
        (["__import__('os')", TIMES], "no list of road ids"),
        (["[52, 78", TIMES], "no list of road ids"),
        (["[52, 99999]", TIMES], "road 99999 is unknown; the network has 0 to 250"),
        (["[52]", TIMES], "1 roads but 2 times"),
        (["[]", "[]"], "the trip is empty"),
        (["", ""], "the trip is empty"),
        (["[52, 78]", "['2015-11-05T10:00:20Z', '2015-11-05T10:00:00Z']"], "is before time"),
        (["[52, 78]", "['2015-11-05', '2015-11-06']"], "no list of times"),
        (["[52, 78]", TIMES, "maybe"], "reached is 'maybe'"),
    ],
)
def test_bad_rows_name_file_line_and_reason(
    network: RoadNetwork, tmp_path: Path, row: list[str], reason: str
) -> None:
    header = [*HEADER, "reached"] if len(row) == 3 else HEADER
    good = ["[52, 78]", TIMES, "True"][: len(header)]
    path = write_csv(tmp_path / "bad.csv", [good, row], header)
    with pytest.raises(UserError) as caught:
        read_generated(path, network)
    assert f"{path}:3: " in str(caught.value) and reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "the column gene_trace_road_id, gene_trace_datetime is missing"),
        (",".join(HEADER) + "\n", "has a header but no trips"),
        (",".join(HEADER) + "\n\udcff\n", "not UTF-8"),
        (",".join(HEADER) + "\n1\n", "fields"),
    ],
)
def test_bad_files_say_what_is_wrong(
    network: RoadNetwork, tmp_path: Path, content: str, reason: str
) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=reason):
        read_generated(path, network)


def test_no_common_od_pair_still_gives_the_distributions(
    city: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generated = write_csv(tmp_path / "far.csv", [["[8, 5]", TIMES]])
    result = evaluate(generated, city, output_dir=tmp_path / "out", settings=Settings(bootstrap=20))
    assert result["od_match_rate"] == 0.0 and result["hausdorff_km"] is None
    assert result["distance_jsd"] > 0
    assert json.loads((tmp_path / "out" / "trajectory_metrics.json").read_text()) == []
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--generated_file", "none.csv"], "none.csv does not exist"),
        ([], "Nothing to evaluate"),
        (["--run_dir", "nowhere"], "nowhere does not exist"),
        (["--grid_size", "0"], "grid_size"),
        (["--grid_size", "1e-12"], "grid_size"),
        (["--edr_eps", "nan"], "edr_eps"),
        (["--dtw", "quick"], "--dtw"),
        (["--od_source", "val2"], "--od_source"),
        (["--bootstrap", "-1"], "bootstrap"),
        (["--data_dir", "nowhere"], "nowhere does not exist"),
    ],
)
def test_mistakes_are_one_line(
    parity_dir: Path, city: Path, tmp_path: Path, arguments: list[str], reason: str
) -> None:
    defaults = {"--generated_file": str(parity_dir / "generated.csv"), "--data_dir": str(city)}
    if not arguments or arguments[0] == "--run_dir":
        defaults.pop("--generated_file")
    given = dict(zip(arguments[::2], arguments[1::2]))
    merged = [text for pair in {**defaults, **given}.items() for text in pair]
    done = run_program(*merged, cwd=tmp_path)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and reason in errors[0]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "eval").exists()


def test_wandb_is_offline_without_credentials_and_never_fails(
    parity_dir: Path,
    city: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_accounts: None,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    result = evaluate(
        parity_dir / "generated.csv",
        city,
        output_dir=tmp_path / "out",
        settings=Settings(bootstrap=0),
        report=False,
    )
    wandb = WandbConfig(enable=True, project="test")
    folder = track(result, wandb, "eval_model_seed42_testod", tmp_path / "out")
    assert folder is not None and folder.name.startswith("offline-run")
