"""A distillation loss in a file of the user's: what it is given, and when it is run at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from config import load_config
from critics.losses import CandidateDistributions, distillation_loss
from critics.own_loss import divergence_of
from runtime.errors import UserError
from tests.training_helpers import assert_same_weights, distilled, final_weights, tiny_config
from train_with_distill import train

FORWARD_KL = """
import torch

def mine(sides):
    terms = sides.log_q.exp() * (sides.log_q - sides.log_p)
    return torch.where(sides.outcome, terms, 0.0).sum(dim=-1)

def scalar(sides):
    return mine(sides).mean()
"""


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    file = tmp_path / "my_loss.py"
    file.write_text(FORWARD_KL)
    return file


def test_a_run_with_the_same_formula_is_the_same_run(
    tiny_city: Path, tmp_path: Path, own_file: Path
) -> None:
    settings = distilled(tiny_city, optimizer_config__max_epoch=1)
    own = {**settings, "distill__loss": f"{own_file}:mine"}
    usual = train(tiny_config(tiny_city, tmp_path / "usual", **settings))
    config = tiny_config(tiny_city, tmp_path / "own", **own)
    result = train(config)
    assert_same_weights(final_weights(usual.folder), final_weights(result.folder))

    own_file.write_text(FORWARD_KL + "\n# changed\n")
    with pytest.raises(UserError, match=r"another run.*distill\.loss"):
        train(config)


def test_ties_and_temperature_are_settled_before(own_file: Path) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 4, 5), torch.randn(3, 4, 5)
    keys = torch.randint(0, 3, (3, 4, 5))
    count = torch.randint(1, 6, (3, 4))
    given = (student, teacher, count, 1.7)
    expected = distillation_loss("forward_kl", *given, tie_keys=keys)
    own = distillation_loss(divergence_of(f"{own_file}:mine"), *given, tie_keys=keys)
    assert torch.equal(own, expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [("scalar", r"returned \[\]; expected .* \[2, 3\]"), ("absent", "has no function absent")],
)
def test_a_function_that_is_none(own_file: Path, name: str, message: str) -> None:
    logits, where = torch.zeros(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    sides = CandidateDistributions(logits, logits, logits == 0, where)
    with pytest.raises(UserError, match=message):
        divergence_of(f"{own_file}:{name}")(sides)


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        divergence_of(f"{tmp_path}/none.py:mine")
    broken = tmp_path / "broken.py"
    broken.write_text("def mine(:\n")
    with pytest.raises(UserError, match="cannot be run"):
        divergence_of(f"{broken}:mine")
    with pytest.raises(UserError, match=r"a function of yours, FILE\.py:FUNCTION"):
        load_config(None, {"distill.loss": "os:system"})
