"""What HOSER needs beside road map and trips: zones and how often trips change between them.

`ensure_zones` makes what a dataset folder lacks; `python -m data.preprocess --data_dir FOLDER`
does the same by hand. The two steps also run by themselves, as modules of this package.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from data.zone_record import PARTITION_NAME, RECORD_NAME
from runtime.files import FolderLock
from runtime.placing import placing

if TYPE_CHECKING:
    from config.choices import OnBadRows

ZONE_COUNTS_NAME = "zone_trans_mat.npy"
DEFAULT_ZONES = 300


def ensure_zones(
    folder: str | Path,
    num_zones: int = DEFAULT_ZONES,
    seed: int = 0,
    *,
    on_bad_rows: OnBadRows = "error",
    cache_dir: str | Path | None = None,
    force: bool = False,
) -> None:
    """Makes the zones and the zone transitions that `folder` lacks; with `force`, both anew.

    Several processes may call this at once: one works, the others wait and find the files. An
    existing partition is kept whatever `num_zones` says.
    """
    # Imported here: the steps are programs of this package, and KaHIP is needed only by them.
    from data.preprocess.get_zone_trans_mat import write_zone_trans_mat
    from data.preprocess.partition_road_network import write_partition

    folder = Path(folder)
    if not force and has_zones(folder):
        return
    with FolderLock(folder, name=".zones.lock", wait=True):
        if not force and has_zones(folder):
            return
        with placing_zones(folder, force=force):
            if force or not (folder / PARTITION_NAME).exists():
                write_partition(folder, num_zones, seed)
            write_zone_trans_mat(folder, on_bad_rows=on_bad_rows, cache_dir=cache_dir)


def placing_zones(folder: Path, force: bool = False) -> AbstractContextManager[None]:
    """Around the making of zones: somebody else's are moved aside, not replaced."""
    names = (PARTITION_NAME, ZONE_COUNTS_NAME, RECORD_NAME)
    return placing("data.preprocess", *(folder / name for name in names), force=force)


def has_zones(folder: Path) -> bool:
    """Whether there is nothing to make."""
    return (folder / PARTITION_NAME).exists() and (folder / ZONE_COUNTS_NAME).exists()
