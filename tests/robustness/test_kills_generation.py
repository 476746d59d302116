"""Generation and the pipeline, killed at any moment, end with the trips of an undisturbed run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Config
from tests.robustness.programs import Programs
from tests.robustness.survival import Survival, contents
from training.folder import RunFolder


def generation(
    programs: Programs, trained: Config, root: Path, *options: str, runs: int = 2
) -> Survival:
    """A generation that goes on with what an earlier one has left."""
    config = Path(trained.save_dir).parent / "config.yaml"
    return Survival(
        programs,
        lambda folder: [
            "gene.py",
            *("--config", config, "--output", folder / "trips.csv", "--resume", "--no-progress"),
            *options,
        ],
        lambda folder: None,
        lambda folder: contents(folder, "*.csv*"),
        root,
        undisturbed_runs=runs,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("search", "num_gene"), [("beam", 80), ("astar", 40), ("shortest_path", 120)]
)
def test_generation(
    programs: Programs, trained: Config, tmp_path: Path, search: str, num_gene: int
) -> None:
    options = ("--num_gene", str(num_gene), "--search", search, "--batch_size", "8")
    generation(programs, trained, tmp_path, *options).endure(kills=6, seed=6)


@pytest.mark.slow
def test_generation_in_several_processes(
    programs: Programs, trained: Config, tmp_path: Path
) -> None:
    options = ("--num_gene", "120", "--batch_size", "8", "--processes", "2")
    generation(programs, trained, tmp_path, *options, runs=1).endure(kills=2, seed=7)


@pytest.mark.slow
def test_pipeline(programs: Programs, trained: Config, tmp_path: Path) -> None:
    def prepare(folder: Path) -> None:
        (folder / "models").mkdir()
        for name in ("vanilla", "distilled"):
            shutil.copy(RunFolder.of(trained).best, folder / "models" / f"{name}.pth")
        settings = {
            "dataset": "tiny",
            "data_dir": trained.data_dir,
            "eval_dir": str(folder),
            "od_sources": ["test"],
            "num_gene": 60,
            "bootstrap": 20,
            "report": False,
        }
        (folder / "evaluation.yaml").write_text(yaml.safe_dump(settings))

    def result(folder: Path) -> Any:
        trips = contents(folder / "gene", "*.csv*")
        assert len(trips) == 2
        files = [*folder.rglob("results.json"), folder / "eval" / "seed42" / "comparison.json"]
        assert len(files) == 3
        return trips, [timeless(json.loads(file.read_text())) for file in sorted(files)]

    Survival(
        programs,
        lambda folder: ["python_pipeline.py", "--config", folder / "evaluation.yaml"],
        prepare,
        result,
        tmp_path,
    ).endure(kills=8, seed=8)


def timeless(content: Any) -> Any:
    """Results without the moment and the folder in which they were found."""
    if isinstance(content, dict):
        left_out = ("time", "generated_file", "generation")
        return {key: timeless(value) for key, value in content.items() if key not in left_out}
    if isinstance(content, list):
        return [timeless(value) for value in content]
    return content
