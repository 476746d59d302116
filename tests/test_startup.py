"""What a program loads before it knows what is asked of it: PyTorch alone takes seconds."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SLOW = ("torch", "torch_geometric", "optuna", "numba", "polars", "scipy", "matplotlib", "wandb")
PROGRAMS = ("train_with_distill", "gene", "evaluation", "tune_hoser", "python_pipeline")


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_loads_nothing_slow(program: str) -> None:
    script = (
        f"import sys, {program}\n"
        f"try:\n    {program}.main(['--help'])\n"
        f"finally:\n    print([name for name in {SLOW} if name in sys.modules], file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert "usage:" in run.stdout
    assert run.stderr.strip() == "[]"
