"""The one writer of what `--output` names: it replaces only what a program of ours wrote there.

A folder with results has a record of them, `.results.json`: each file's SHA-256, the program, and
what it was made from. A file without an entry, or one that was changed since, is somebody's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runtime.errors import UserError
from runtime.files import FolderLock, read_json, sha256_of_file, write_json
from runtime.inputs import KEY, UNKNOWN, Inputs

RECORD_NAME = ".results.json"
LOCK_NAME = ".results.lock"
_BEGUN = "begun"


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
        known = self._known()
        for name in self.names:
            self._refuse_foreign(name, known.get(name))

    def are_ours(self) -> bool:
        """Whether those of the files that are there are as a program of ours wrote them."""
        try:
            replace(self, force=False).check()
        except UserError:
            return False
        return True

    @contextmanager
    def written(self) -> Iterator[None]:
        """Around the writing: from here on the files are the program's, also of a killed one."""
        with self._record() as known:
            for name in self.names:
                self._refuse_foreign(name, known.get(name))
            foreign = {n for n in self.names if n not in known and (self.folder / n).exists()}
            known |= {name: {"program": self.program, "sha256": _BEGUN} for name in self.names}
        try:
            yield
        except BaseException:
            self._note(set(self.names) - foreign)
            raise
        self._note(set(self.names))

    def _note(self, ours: set[str]) -> None:
        """Writes down what our files hold, those that are there."""
        with self._record() as known:
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
        known = entry.get("sha256") if isinstance(entry, dict) else None
        if known != _BEGUN and known != sha256_of_file(path):
            changed = "was changed since it was written" if known else "is not of this program"
            raise UserError(
                f"{path} is in the way and {changed}; choose another output, or replace it with "
                "--force."
            )

    @contextmanager
    def _record(self) -> Iterator[dict[str, Any]]:
        """The folder's record to be changed, while nobody else does."""
        with FolderLock(self.folder, name=LOCK_NAME, wait=True):
            known = self._known()
            yield known
            write_json(self.folder / RECORD_NAME, known)

    def _known(self) -> dict[str, Any]:
        """The folder's record; without one, or with a damaged one, nothing is known to be ours."""
        try:
            content = read_json(self.folder / RECORD_NAME)
        except UserError:
            return {}
        return content if isinstance(content, dict) else {}
