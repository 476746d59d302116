"""Experiment tracking with WandB that never asks, blocks or fails a run.

Offline unless credentials exist. Any error of WandB's is logged once and tracking stops; the
program goes on.
"""

from __future__ import annotations

import netrc
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.logs import get_logger

if TYPE_CHECKING:
    from config.schema import WandbConfig

logger = get_logger("wandb")

KNOWN_SERVERS = ("https://api.wandb.ai",)


class TrackedRun:
    """A WandB run, or nothing at all with the same methods."""

    def __init__(self, run: Any = None, keeps_artifacts: bool = False) -> None:
        self._run = run
        self._keeps_artifacts = keeps_artifacts

    @property
    def active(self) -> bool:
        """Whether anything is recorded."""
        return self._run is not None

    @property
    def directory(self) -> Path | None:
        """Where the run's files lie on disk."""
        return Path(self._run.dir).parent if self._run is not None else None

    def log(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Records metrics at a step."""
        self._attempt(lambda run: run.log(metrics, step=step))

    def summarize(self, values: dict[str, Any]) -> None:
        """Sets the run's summary values."""
        self._attempt(lambda run: run.summary.update(values))

    def log_artifact(self, name: str, kind: str, file: Path) -> None:
        """Keeps a file with the run, as a version of the artifact `name`, where asked for."""

        def add(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(_artifact_name(name), type=kind)
            artifact.add_file(str(file))
            run.log_artifact(artifact)

        if self._keeps_artifacts:
            self._attempt(add)

    def finish(self, exit_code: int = 0) -> None:
        """Closes the run."""
        self._attempt(lambda run: run.finish(exit_code=exit_code))
        self._run = None

    def _attempt(self, action: Any) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:
            logger.warning("WandB failed and is off for the rest of this run: %s", error)
            self._run = None


def start_run(
    settings: WandbConfig,
    name: str,
    config: dict[str, Any],
    directory: Path,
    group: str | None = None,
    job_type: str | None = None,
    tags: list[str] | None = None,
) -> TrackedRun:
    """Starts a run as the `wandb` section says; an inactive one where it is off or fails."""
    if not settings.enable or settings.mode == "disabled":
        return TrackedRun()
    mode = settings.mode
    if mode == "auto":
        mode = "online" if has_credentials() else "offline"
    elif mode == "online" and not has_credentials():
        logger.warning("WandB has no credentials here; the run is kept offline.")
        mode = "offline"
    try:
        import wandb

        directory.mkdir(parents=True, exist_ok=True)
        run = wandb.init(
            project=settings.project,
            entity=settings.entity,
            name=settings.run_name or name,
            group=group or settings.group,
            job_type=job_type,
            tags=[*settings.tags, *(tags or [])],
            config=config,
            dir=str(directory),
            mode=mode,
            reinit="create_new",
            settings=_settings(wandb, mode),
        )
    except Exception as error:
        logger.warning("WandB could not start and is off for this run: %s", error)
        return TrackedRun()
    logger.info("WandB records this run %s in %s.", mode, directory / "wandb")
    return TrackedRun(run, settings.log_artifacts)


def _artifact_name(name: str) -> str:
    """`name` with the characters that WandB allows in an artifact's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:128]


def _settings(wandb: Any, mode: str) -> Any:
    """Quiet; offline also without looking for what else the machine or its network offers."""
    values: dict[str, Any] = {"silent": True, "console": "off", "init_timeout": 60}
    if mode == "offline" and "x_disable_machine_info" in wandb.Settings.model_fields:
        values["x_disable_machine_info"] = True
    return wandb.Settings(**values)


def has_credentials() -> bool:
    """Whether a WandB key is at hand, looked up without asking anybody."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
        known = netrc.netrc(str(path)).hosts
    except Exception:  # a file of other programs, in whatever alphabet or state
        return False
    return any(_host(address) in known for address in (*KNOWN_SERVERS, _configured_server()))


def _configured_server() -> str:
    if os.environ.get("WANDB_BASE_URL"):
        return os.environ["WANDB_BASE_URL"]
    try:
        import wandb

        return str(wandb.Settings().base_url)
    except Exception:
        return KNOWN_SERVERS[0]


def _host(address: str) -> str:
    return address.split("//")[-1].split("/")[0]
