"""Which configuration and which dataset folder a program works on, given what its caller named.

Every program asks here, so that the same arguments mean the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.loading import load_config
from config.schema import Config
from runtime.errors import UserError

SHIPPED_FOLDER = Path(__file__).parent
SHIPPED_EVALUATION = SHIPPED_FOLDER / "evaluation.yaml"
DEMO = "demo"
GENERAL = "Beijing"  # whose settings a city of the user's own begins with


def shipped_configs() -> dict[str, Path]:
    """The training configurations that come with the project, by dataset."""
    files = sorted(SHIPPED_FOLDER.glob("*.yaml"))
    return {file.stem: file for file in files if file != SHIPPED_EVALUATION}


def find_config(
    file: str | Path | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """The configuration in `file`, else the shipped one of `dataset`, else the demo's.

    A dataset of which only the folder is given has the general settings, those of Beijing.
    `overrides` (dotted paths) replace what the file says, `dataset` and `data_dir` even those.
    """
    named = {
        key: str(value)
        for key, value in (("dataset", dataset), ("data_dir", data_dir))
        if value is not None
    }
    return load_config(config_file(file, dataset, data_dir), {**(overrides or {}), **named})


def config_file(
    file: str | Path | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
) -> Path:
    """The file from which `find_config` reads."""
    if file is not None:
        return Path(file)
    name, shipped = dataset or DEMO, shipped_configs()
    if name not in shipped and data_dir is not None:
        return shipped[GENERAL]
    if name not in shipped:
        raise UserError(
            f"There is no shipped configuration for the dataset {name!r} (there are: "
            f"{', '.join(shipped)}); give one with --config."
        )
    return shipped[name]


def find_data_dir(data_dir: str | Path | None, run_dir: str | Path | None) -> Path:
    """The dataset folder: the one given, one inside the run, or the one the run was trained on."""
    if data_dir is not None:
        return Path(data_dir)
    if run_dir is None:
        raise UserError("There is no dataset to compare with; give its folder with --data_dir.")
    run = existing_run_folder(run_dir)
    for folder in (run / "hoser_format", run):
        if (folder / "roadmap.geo").exists():
            return folder
    if (run / "config.yaml").exists():
        return Path(load_config(run / "config.yaml").data_dir)
    raise UserError(
        f"{run} holds neither a dataset nor a config.yaml that names one; give the dataset's "
        "folder with --data_dir."
    )


def existing_run_folder(run_dir: str | Path) -> Path:
    """The folder of a training run, which must be there."""
    folder = Path(run_dir)
    if not folder.is_dir():
        raise UserError(f"The run folder {folder} does not exist (--run_dir).")
    return folder
