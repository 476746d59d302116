"""Which file holds a split's trips: `train.csv` or `train.parquet`, and so on."""

from __future__ import annotations

from pathlib import Path

from runtime.errors import UserError

SPLITS = ("train", "val", "test")
SUFFIXES = (".csv", ".parquet")


def split_file(folder: str | Path, split: str) -> Path:
    """The file of a split's trips; a `UserError` where there is none, or more than one."""
    found = _files(Path(folder), split)
    if not found:
        raise UserError(
            f"{folder} has no {split}.csv or {split}.parquet; a dataset folder holds the trips of "
            "train, val and test in such files (docs/data.md)."
        )
    if len(found) > 1:
        raise UserError(
            f"{folder} has both {found[0].name} and {found[1].name}; only one may hold the trips, "
            "so move the other away."
        )
    return found[0]


def has_split(folder: str | Path, split: str) -> bool:
    """Whether there are trips of a split."""
    return bool(_files(Path(folder), split))


def _files(folder: Path, split: str) -> list[Path]:
    paths = [folder / f"{split}{suffix}" for suffix in SUFFIXES]
    return [path for path in paths if path.is_file()]
