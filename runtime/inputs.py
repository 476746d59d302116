"""What a result was made from, by the hashes of contents: one record in every output.

Whoever writes a result writes it along, whoever reads one holds it against what is here. What one
of the two does not know is not compared: results of earlier versions tell less, under older names,
and files of other programs tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from runtime.errors import UserError
from runtime.files import sha256_of_json

KEY = "inputs"  # where an output's record has them
MAX_SHOWN = 4
_OLD_PLACES = ("identity", "request", "metadata", "data")
_OLD_NAMES = {
    "road network": "network",
    "road_network": "network",
    "roads": "network",
    "network_hash": "network",
    "train.csv": "train",
    "val.csv": "val",
    "generated_sha256": "trips_file",
    "model_sha256": "model",
    "distill.loss": "code",
}


@dataclass(frozen=True)
class Inputs:
    """Hashes of what went into a result; None for what is unknown or did not."""

    network: str | None = None
    zones: str | None = None
    train: str | None = None  # a split's trips as they were read
    val: str | None = None
    test: str | None = None
    trips_file: str | None = None  # generated or given trips, the file's SHA-256
    model: str | None = None  # a student's file, several, or a yardstick's name
    teacher: str | None = None
    config: str | None = None
    code: str | None = None  # of a loss of the user's own, or of the measures

    @classmethod
    def read(cls, record: object) -> Inputs:
        """What any output's record says of them, of this version or of an earlier one."""
        found = _part(record, (KEY, *_OLD_PLACES))
        found = _part(found, (KEY,))  # an evaluation's metadata have them in turn
        known = {field.name for field in fields(cls)}
        parts: dict[str, str] = {}
        for name, value in found.items():
            part = _OLD_NAMES.get(name, name)
            if part in known and isinstance(value, str | Mapping) and value:
                parts.setdefault(part, content_hash(value))
        return cls(**parts)

    def to_json(self) -> dict[str, str]:
        """What is known, by name."""
        return {name: value for name, value in self.__dict__.items() if value is not None}

    def differences(self, here: Inputs, titles: Mapping[str, str] | None = None) -> list[str]:
        """In words, where what is known here is not what was known there."""
        known = titles or {}
        return [
            f"{known.get(name) or _title(name)} is {short(there)} there and {short(value)} here"
            for name, value in here.to_json().items()
            if (there := getattr(self, name)) is not None and there != value
        ]

    def refuse_others(self, here: Inputs, place: str | Path, advice: str) -> None:
        """Refuses a result that was made from other things than those that are here."""
        differences = self.differences(here)
        if differences:
            raise UserError(
                f"{place} was made from other things: {'; '.join(differences[:MAX_SHOWN])}. "
                f"{advice}"
            )


UNKNOWN = Inputs()


def _part(record: object, names: tuple[str, ...]) -> Mapping[str, object]:
    """The first of these parts that a record has; itself without any."""
    if not isinstance(record, Mapping):
        return {}
    parts = (record.get(name) for name in names)
    return next((part for part in parts if isinstance(part, Mapping)), record)


def content_hash(value: str | Mapping[str, object]) -> str:
    """A hash as it is; that of plain data."""
    return value if isinstance(value, str) else sha256_of_json(value)


def short(value: object) -> str:
    """A hash by its beginning, anything else within bounds."""
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text[:80]


def _title(name: str) -> str:
    return f"{name}.csv" if name in ("train", "val", "test") else name.replace("_", " ")
