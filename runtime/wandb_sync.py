"""Uploading offline WandB runs in the background: nobody waits for it, and nothing fails with it.

Each upload is a process of WandB's own program that outlives the one that started it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.logs import get_logger
from runtime.wandb_run import has_credentials

if TYPE_CHECKING:
    from config.schema import WandbConfig

logger = get_logger("sync")


def sync_one(settings: WandbConfig, run_folder: Path | None, beside: Path) -> None:
    """Begins to upload a run that has ended, where the settings ask for it; logs to `beside`."""
    if run_folder is not None and settings.background_sync:
        BackgroundSync(beside / "wandb_sync.log", enabled=True).start(run_folder)


class BackgroundSync:
    """Starts one upload per finished run; without credentials it only says so, once."""

    def __init__(self, log_file: Path, enabled: bool) -> None:
        self.log_file = log_file
        self.enabled = enabled
        self.processes: list[subprocess.Popen[bytes]] = []
        if enabled and not has_credentials():
            logger.info("WandB runs stay offline: there are no credentials to sync them with.")
            self.enabled = False

    def start(self, run_folder: Path | None) -> None:
        """Begins to upload the run in `run_folder`."""
        if not self.enabled or run_folder is None or not run_folder.name.startswith("offline-run"):
            return
        try:
            self.log_file.parent.mkdir(parents=True, exist_ok=True)
            with self.log_file.open("ab") as log:
                # From within: a study gives a trial's folder its last name while this begins.
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "wandb", "sync", run_folder.name],
                    cwd=run_folder.parent,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            logger.warning("WandB sync could not start: %s", error)
            return
        self.processes.append(process)

    def report(self) -> None:
        """Says how the uploads stand, without waiting for any."""
        if not self.processes:
            return
        codes = [process.poll() for process in self.processes]
        logger.info(
            "WandB sync: %d of %d runs uploaded, %d under way, %d failed (see %s).",
            codes.count(0),
            len(codes),
            codes.count(None),
            sum(code not in (0, None) for code in codes),
            self.log_file,
        )
