"""What is already done: judged by what went in and what came out, not by a file being there."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import read_json, sha256_of_file, sha256_of_json, write_json
from runtime.placing import adopt

FORMAT_VERSION = 1
SOURCES = Path(__file__).parent.parent
MEASURES = ("metrics", "data/geometry.py", "data/routes.py", "data/route_kernels.py")


@cache
def measures_version() -> str:
    """A hash of the code that measures: figures of another version do not compare."""
    digest = hashlib.sha256()
    for name in MEASURES:
        place = SOURCES / name
        for file in sorted(place.glob("*.py")) if place.is_dir() else [place]:
            digest.update(f"{file.name}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


class Entry:
    """The record of one step, beside its output: the inputs' key and the outputs' checksums."""

    def __init__(self, path: Path, inputs: dict[str, Any]) -> None:
        self.path = path
        self.inputs = {**inputs, "format_version": FORMAT_VERSION}
        self.key = sha256_of_json(self.inputs)

    def is_done(self) -> bool:
        """Whether the step ended with these inputs and its outputs are as it left them."""
        record = self._record()
        if record is None or record.get("key") != self.key or record.get("state") != "done":
            return False
        outputs = record.get("outputs")
        return isinstance(outputs, dict) and all(
            (self.path.parent / name).is_file()
            and sha256_of_file(self.path.parent / name) == checksum
            for name, checksum in outputs.items()
        )

    def was_begun(self) -> bool:
        """Whether the step was begun with these very inputs, so that it can go on."""
        record = self._record()
        return record is not None and record.get("key") == self.key

    def was_stopped(self) -> bool:
        """Whether it was begun with them and did not end; else its files are not to go on with."""
        return self.was_begun() and (self._record() or {}).get("state") != "done"

    def begin(self) -> None:
        """Writes down that the step is under way; what it left before is its own to replace."""
        self._adopt()
        self._write("begun", {})

    def finish(self, outputs: list[Path]) -> None:
        """Writes down the outputs, files in the record's folder or below."""
        names = {path.relative_to(self.path.parent).as_posix(): path for path in outputs}
        self._write("done", {name: sha256_of_file(path) for name, path in names.items()})

    def _write(self, state: str, outputs: dict[str, str]) -> None:
        record = {"state": state, "key": self.key, "inputs": self.inputs, "outputs": outputs}
        write_json(self.path, record)

    def _adopt(self) -> None:
        """Vouches for the ledger and for those outputs that are as it says."""
        record = self._record()
        if record is None or not {"key", "state"} <= record.keys():
            return
        outputs = record.get("outputs")
        files = {
            self.path.parent / name: checksum
            for name, checksum in (outputs.items() if isinstance(outputs, dict) else ())
        }
        same = [f for f, known in files.items() if f.is_file() and sha256_of_file(f) == known]
        adopt(self.path, *same)

    def _record(self) -> dict[str, Any] | None:
        try:
            record = read_json(self.path)
        except UserError:
            return None
        return record if isinstance(record, dict) else None
