"""The one writer of what `--output` names: it replaces only what a program of ours wrote there.

Anything else in the way is refused in a line before any work is done, or replaced with `--force`.
What lies in folders that a program lays out itself is moved aside instead: `runtime.placing`. Both
go by the folder's record, `runtime.written`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import sha256_of_file
from runtime.inputs import KEY, UNKNOWN, Inputs
from runtime.placing import clear
from runtime.written import BEGUN, changed_record, is_as_written, known_files


def add_force_argument(parser: argparse.ArgumentParser) -> None:
    """Adds --force, which lets results take the place of anything."""
    parser.add_argument(
        "--force", action="store_true", help="replace files that this program did not write"
    )


@dataclass(frozen=True)
class Results:
    """Files of one folder that a program writes."""

    folder: Path
    names: tuple[str, ...]
    program: str
    inputs: Inputs = UNKNOWN
    force: bool = False

    @classmethod
    def file(cls, path: str | Path, program: str, force: bool = False) -> Results:
        """A single file."""
        path = Path(path)
        if not path.name:
            raise UserError(f"The output {str(path)!r} is no file; give a file's name.")
        return cls(path.parent, (path.name,), program, force=force)

    def of(self, inputs: Inputs) -> Results:
        """The same files, with what they are made from."""
        return replace(self, inputs=inputs)

    def check(self) -> None:
        """Refuses what is in the way, before any work is done; writes nothing."""
        known = known_files(self.folder)
        for name in self.names:
            self._refuse_foreign(name, known.get(name))

    def are_ours(self) -> bool:
        """Whether those of the files that are there are as a program of ours wrote them."""
        try:
            replace(self, force=False).check()
        except UserError:
            return False
        return True

    def clear(self) -> None:
        """Takes the files away, in the order of the names; somebody else's are moved aside."""
        for name in self.names:
            clear(self.folder / name)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Around the writing: from here on the files are the program's, also of a killed one."""
        with changed_record(self.folder) as known:
            for name in self.names:
                self._refuse_foreign(name, known.get(name))
            foreign = {n for n in self.names if n not in known and (self.folder / n).exists()}
            known |= {name: {"program": self.program, "sha256": BEGUN} for name in self.names}
        try:
            yield
        except BaseException:
            self._note(set(self.names) - foreign)
            raise
        self._note(set(self.names))

    def _note(self, ours: set[str]) -> None:
        """Writes down what our files hold, those that are there."""
        with changed_record(self.folder) as known:
            for name in self.names:
                known.pop(name, None)
                if name in ours and (self.folder / name).is_file():
                    known[name] = {
                        "program": self.program,
                        "sha256": sha256_of_file(self.folder / name),
                        KEY: self.inputs.to_json(),
                    }

    def _refuse_foreign(self, name: str, entry: Any) -> None:
        path = self.folder / name
        if path.is_dir():
            raise UserError(f"{path} is a folder; give the name of a file.")
        if self.force or not path.exists():
            return
        if not is_as_written(entry, path):
            known = isinstance(entry, dict)
            changed = "was changed since it was written" if known else "is not of this program"
            raise UserError(
                f"{path} is in the way and {changed}; choose another output, or replace it with "
                "--force."
            )
