"""The output of one request: its file, the parts other processes write, and what is missing.

A part holds the rows of consecutive requests; its name says the number of the first one. Whatever
process wrote them and whenever it was killed, file and parts together say what is done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.generation_record import is_record_of, read_record, record_path
from runtime.errors import UserError
from runtime.files import read_json, sha256_of_file, write_json
from runtime.inputs import KEY, Inputs, short
from runtime.logs import get_logger
from runtime.placing import make_way
from runtime.written import is_as_written, known_files
from search.od import ODSource
from search.writer import HEADER, ORPHAN_PATIENCE_S, Tally, TripWriter, parse_row

logger = get_logger("generate")

PART_DIGITS = 12
Range = tuple[int, int]  # first request number, one past the last


@dataclass
class _Part:
    begin: int
    path: Path
    tally: Tally

    @property
    def end(self) -> int:
        return self.begin + self.tally.trips


class Output:
    """The generated file, held open and locked; `performance` is the JSON file beside it."""

    def __init__(
        self, path: Path, source: ODSource, identity: dict[str, Any], inputs: Inputs
    ) -> None:
        self.path, self.source, self.identity, self.inputs = path, source, identity, inputs
        self.performance = record_path(path)
        self.tally = Tally()
        self._parts: list[_Part] = []
        self._writer: TripWriter | None = None

    def open(self, *, resume: bool) -> None:
        """Begins the file, or with `resume` takes up what an earlier run has left."""
        self._refuse_what_is_not_ours()
        has_rows = self.path.exists() and self.path.stat().st_size > 0
        if resume and (has_rows or self._part_files()):
            self._check_identity()
        elif has_rows and self._is_as_generated():
            logger.warning("%s is overwritten.", self.path)
        elif has_rows:
            make_way(Path(os.path.realpath(self.path)))
        self._writer = TripWriter(self.path, append=resume)
        if resume:
            self.tally = self._writer.existing_rows(self.source, 0)
            self._parts = [self._open_part(path) for path in self._part_files()]
        else:
            for path in self._part_files():
                path.unlink(missing_ok=True)
        # Before the first row: a file with rows can always say what it was generated with.
        begun = {"status": "running", "output": self.path.name, "request": self.identity}
        write_json(self.performance, {**begun, KEY: self.inputs.to_json()})
        self._writer.begin()
        self.absorb_parts()

    def _refuse_what_is_not_ours(self) -> None:
        """Neither the file nor the one beside it may be anything but generated trips' own."""
        if self.path.is_file():
            with self.path.open("rb") as file:
                start = file.read(len(HEADER))
            if not HEADER.startswith(start):
                raise UserError(
                    f"{self.path} is not a file of generated trips; choose another --output."
                )
        if not self.performance.exists():
            return
        try:
            ours = is_record_of(read_json(self.performance), self.path)
        except UserError as error:
            raise UserError(f"{error} It is in the way; remove it.") from error
        if not ours:
            raise UserError(
                f"{self.performance} is in the way: it is not of {self.path.name}; choose another "
                "--output."
            )

    def _is_as_generated(self) -> bool:
        """Whether the trips that are there were generated, and by nobody changed since."""
        record = read_record(self.path)
        if record is None:
            return is_as_written(known_files(self.path.parent).get(self.path.name), self.path)
        begun = record["status"] == "running"
        return begun or record.get("sha256") in (None, sha256_of_file(self.path))

    def _check_identity(self) -> None:
        hint = "leave out --resume to start over, or choose another --output"
        if not self.performance.exists():
            raise UserError(
                f"{self.path} has no {self.performance.name} beside it that says what it was "
                f"generated with; {hint}."
            )
        known = read_json(self.performance)
        request = known.get("request") if isinstance(known, dict) else None
        if not isinstance(request, dict):
            raise UserError(f"{self.performance} is not of gene.py; {hint}.")
        differences = [
            f"{name} was {short(request.get(name))} and is {short(value)}"
            for name, value in self.identity.items()
            if request.get(name) != value
        ]
        if differences:
            raise UserError(
                f"{self.path} belongs to another request ({'; '.join(differences[:3])}); {hint}."
            )

    def _part_files(self) -> list[Path]:
        numbered = "[0-9]" * PART_DIGITS
        return sorted(self.path.parent.glob(f"{_escape(self.path.name)}.part-{numbered}"))

    def _open_part(self, path: Path) -> _Part:
        number = path.name.rpartition("-")[2]
        # A worker of a killed run may still be writing it until it notices that it is alone.
        with TripWriter(path, append=True, header=False, patience_s=ORPHAN_PATIENCE_S) as part:
            return _Part(int(number), path, part.existing_rows(self.source, int(number)))

    def missing(self) -> list[Range]:
        """The requests that neither the file nor a part answers."""
        ranges: list[Range] = []
        done = self.tally.trips
        for part in self._parts:
            if part.begin > done:
                ranges.append((done, part.begin))
            done = max(done, part.end)
        if done < len(self.source):
            ranges.append((done, len(self.source)))
        return ranges

    def done(self) -> Tally:
        """What file and parts hold."""
        tally = Tally()
        for each in (self.tally, *(part.tally for part in self._parts)):
            tally.add(each)
        return tally

    @property
    def writer(self) -> TripWriter:
        """The open file."""
        assert self._writer is not None
        return self._writer

    def find_parts(self) -> None:
        """Looks again for parts, once the processes that wrote them have ended."""
        self._parts = [self._open_part(path) for path in self._part_files()]

    def count(self, tally: Tally) -> None:
        """Notes trips that were appended to the file itself."""
        self.tally.add(tally)

    def absorb_parts(self) -> None:
        """Appends the parts that continue the file, and removes them."""
        while self._parts and self._parts[0].begin <= self.tally.trips:
            part = self._parts.pop(0)
            for number, line in _numbered_lines(part):
                if number >= self.tally.trips:
                    self.tally.add(parse_row(part.path, line, number + 1).tally)
                    self.writer.add(line)
            self.writer.sync()
            part.path.unlink()

    def close(self) -> None:
        """Closes the file; its rows are on the disk."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def part_path(output: Path, begin: int) -> Path:
    """Where a process puts the rows from request `begin` on."""
    return output.with_name(f"{output.name}.part-{begin:0{PART_DIGITS}d}")


def _numbered_lines(part: _Part) -> Iterator[tuple[int, bytes]]:
    with part.path.open("rb") as file:
        yield from enumerate(file, start=part.begin)


def _escape(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
