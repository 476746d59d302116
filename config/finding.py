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
from runtime.logs import get_logger

logger = get_logger("config")

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

    A dataset of which only the folder is given has the shipped configuration of the folder's name,
    else the general settings: Beijing's, without what speaks of Beijing. `overrides` (dotted
    paths) replace what the file says, `dataset` and `data_dir` even those.
    """
    named = {
        key: str(value)
        for key, value in (("dataset", dataset), ("data_dir", data_dir))
        if value is not None
    }
    if data_dir is not None and not Path(data_dir).is_dir():
        raise UserError(f"The dataset folder {data_dir} does not exist (--data_dir).")
    path = config_file(file, dataset, data_dir)
    own_city = file is None and data_dir is not None and path.stem == GENERAL
    own_name = dataset or Path(data_dir or ".").resolve().name
    general = _for_city(own_name) if own_city and own_name != GENERAL else {}
    config = load_config(path, {**general, **(overrides or {}), **named})
    logger.info(
        "Settings of %s%s, dataset %s in %s.",
        path,
        " (the general ones; give others with --config)" if general else "",
        config.dataset,
        config.data_dir,
    )
    return config


def _for_city(name: str) -> dict[str, Any]:
    """What the general settings say of a city that is not the one they were made for."""
    return {
        "dataset": name,
        "distill.ckpt": None,
        "wandb.tags": [name, "distillation"],
        "optuna.study_name": f"hoser-distill-{name.lower()}",
    }


def config_file(
    file: str | Path | None = None,
    dataset: str | None = None,
    data_dir: str | Path | None = None,
) -> Path:
    """The file from which `find_config` reads."""
    if file is not None:
        return Path(file)
    shipped = shipped_configs()
    if data_dir is not None:
        return shipped.get(dataset or Path(data_dir).resolve().name, shipped[GENERAL])
    name = dataset or DEMO
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
    config = run_file(run, "config.yaml")
    if config.exists():
        return Path(load_config(config).data_dir)
    raise UserError(
        f"{run} holds neither a dataset nor a config.yaml that names one; give the dataset's "
        "folder with --data_dir."
    )


def run_file(run: Path, name: str) -> Path:
    """A file of a training run; a study sorts those of its runs into `model/` and `log/`."""
    kind = "log" if name == "metrics.json" else "model"
    is_sorted = not (run / name).exists() and (run / kind / name).exists()
    return run / kind / name if is_sorted else run / name


def run_of(model: Path) -> Path:
    """The folder of the training run that a model lies in."""
    run = model.parent.parent
    is_sorted = model.parent.name == "model" and (run / "log" / "metrics.json").exists()
    return run if is_sorted else model.parent


def run_config_file(model: str | Path) -> Path | None:
    """The configuration that training left with a model, where the model lies in its run."""
    run = run_of(Path(model))
    file = run_file(run, "config.yaml")
    return file if file.is_file() and run_file(run, "metrics.json").is_file() else None


def existing_run_folder(run_dir: str | Path) -> Path:
    """The folder of a training run, which must be there."""
    folder = Path(run_dir)
    if not folder.is_dir():
        raise UserError(f"The run folder {folder} does not exist (--run_dir).")
    return folder
