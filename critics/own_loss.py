"""A distillation loss of the user's own, in a Python file that the configuration names.

`distill.loss: my_loss.py:gentle` calls the function `gentle` of that file in place of a built-in
divergence. It is given both distributions (`critics.losses.CandidateDistributions`) and returns
one number for each position; temperature, ties, positions and averages are taken care of before and
after. The file is run as code, therefore only where the run's own configuration names it: never
because a checkpoint or another file does.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from critics.losses import DIVERGENCES, CandidateDistributions, Divergence
from runtime.errors import UserError, one_line
from runtime.files import sha256_of_file

REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<function>[A-Za-z_]\w*)")


def is_own_loss(name: object) -> bool:
    """Whether a loss is a function in a file, and not a built-in one."""
    return isinstance(name, str) and REFERENCE.fullmatch(name) is not None


def divergence_of(name: str) -> Divergence:
    """What `distill.loss` names: a built-in divergence, or a function of the user's."""
    return load_own_loss(name) if is_own_loss(name) else DIVERGENCES[name]  # type: ignore[index]


def fingerprint(reference: str) -> str:
    """A hash of the file, so that a run does not go on with a loss that was changed meanwhile."""
    return sha256_of_file(Path(reference.rpartition(":")[0]).expanduser())


def load_own_loss(reference: str) -> Divergence:
    """The function that `FILE.py:FUNCTION` names, its results checked."""
    parts = REFERENCE.fullmatch(reference)
    if parts is None:
        raise UserError(f"distill.loss is {reference!r}; a loss of your own is FILE.py:FUNCTION.")
    path = Path(parts["file"]).expanduser()
    function = getattr(_run_file(path), parts["function"], None)
    if not callable(function):
        raise UserError(f"distill.loss: {path} has no function {parts['function']}.")

    def divergence(sides: CandidateDistributions) -> Tensor:  # -> [...]
        value = function(sides)
        wanted = sides.position.shape
        if not isinstance(value, torch.Tensor) or value.shape != wanted:
            found = list(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
            raise UserError(
                f"distill.loss: {reference} returned {found}; expected a tensor with one number "
                f"for each position, {list(wanted)}."
            )
        return value

    return divergence


def _run_file(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"distill.loss: there is no file {path}.")
    spec = importlib.util.spec_from_file_location(f"own_loss_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, NameError) as error:
        raise UserError(f"distill.loss: {path} cannot be run: {one_line(error)}.") from error
    return module
