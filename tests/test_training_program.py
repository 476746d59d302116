"""The command line of training, and several processes at once."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from runtime.distributed import Processes
from runtime.shutdown import ShutdownSignals
from tests.programs import TIMEOUT_S, environment, free_port, rank_environment, server, start
from tests.training_helpers import (
    REPOSITORY,
    command_line,
    distilled,
    replayed,
    run_program,
    tiny_config,
)
from train_with_distill import train
from training.folder import RunFolder
from training.stopping import AgreedSignals

SCRIPT = str(REPOSITORY / "train_with_distill.py")


def program(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program([sys.executable, SCRIPT, *arguments], tmp_path)


def test_the_command_line_trains(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, Path("save"))
    ended = run_program(command_line(config, tmp_path, "--seed", "3"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "Next-step accuracy" in ended.stderr
    assert (tmp_path / "save" / "tiny" / "seed3" / "best.pth").exists()


def test_help_shows_examples(tmp_path: Path) -> None:
    ended = program(tmp_path, "--help")
    assert ended.returncode == 0
    assert "examples:" in ended.stdout and "torchrun" in ended.stdout


def test_the_resolved_configuration_can_be_printed(tmp_path: Path) -> None:
    ended = program(
        tmp_path, "--dataset", "Beijing", "--no-distill", "--print_config", "--seed", "9"
    )
    assert ended.returncode == 0
    assert "seed: 9" in ended.stdout and "dataset: Beijing" in ended.stdout
    assert "enable: false" in ended.stdout


MISTAKES: list[tuple[list[str], str]] = [
    (["--dataset", "Atlantis"], "There is no shipped configuration for the dataset 'Atlantis'"),
    (["--config", "nowhere.yaml"], "The configuration nowhere.yaml cannot be read"),
    (["--set", "training.sede=1"], "training.sede is not a configuration key; did you mean"),
    (["--set", "training.seed"], "is not of the form section.key=value"),
    (["--data_dir", "nowhere", "--dataset", "Porto"], "The dataset folder nowhere does not exist"),
    (["--device", "tpu"], "--device 'tpu' is not a device"),
    (["--cuda", "0", "--device", "cpu"], "contradict each other"),
    (["--resume", "--fresh"], "not allowed with argument"),
    (["--unknown"], "unrecognized arguments: --unknown; see train_with_distill.py --help."),
    (["--set", "dataset='../evil'", "--no-distill"], "must be usable as a folder's name"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_mistakes_are_one_line_and_exit_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    ended = program(tmp_path, *arguments)
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert "Traceback" not in ended.stderr


def test_a_missing_gpu_is_said_and_the_cpu_used(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path, training__device="cuda:0")
    ended = run_program(command_line(config, tmp_path), tmp_path, CUDA_VISIBLE_DEVICES="")
    assert ended.returncode == 0, ended.stderr
    assert "There is no usable GPU here (cuda:0 was asked for): running on the CPU." in ended.stderr


def test_missing_files_say_how_to_get_them(tiny_city: Path, tmp_path: Path) -> None:
    city = tmp_path / "city"
    shutil.copytree(tiny_city, city)
    (city / "road_network_partition").unlink()
    (city / "zone_trans_mat.npy").unlink()
    config = tiny_config(city, tmp_path / "save", optimizer_config__max_epoch=1)
    made = run_program(command_line(config, tmp_path), tmp_path)
    assert made.returncode == 0 and (city / "zone_trans_mat.npy").exists()
    taught = tiny_config(
        city, tmp_path / "save", distill__ckpt=str(tmp_path / "none.pt"), distill__enable=True
    )
    ended = run_program(command_line(taught, tmp_path), tmp_path)
    assert ended.returncode == 2
    assert "none.pt does not exist" in ended.stderr and "tools.train_lmtad" in ended.stderr
    (city / "val.csv").unlink()
    ended = run_program(command_line(config, tmp_path, "--fresh"), tmp_path)
    assert ended.returncode == 2 and "has no val.csv" in ended.stderr


def torchrun(command: list[str]) -> list[str]:
    """Two processes on this machine."""
    return [
        command[0],
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        f"--master-port={free_port()}",
        *command[1:],
    ]


def run_as_ranks(command: list[str], folder: Path) -> str:
    """Runs both processes that `torchrun` would start, without its own start; what they say."""
    port = free_port()
    ranks = [
        start(command, folder, environment(**rank_environment(rank, 2, port))) for rank in range(2)
    ]
    errors = [rank.communicate(TIMEOUT_S)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    return "".join(errors)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vanilla", "distilled", "replayed"])
def test_two_processes_train_as_one(tiny_city: Path, tmp_path: Path, kind: str) -> None:
    kinds: dict[str, Any] = {"distilled": distilled, "replayed": replayed}
    extra: dict[str, Any] = kinds[kind](tiny_city) if kind in kinds else {}
    one = tiny_config(tiny_city, tmp_path / "one", optimizer_config__batch_size=7, **extra)
    two = tiny_config(tiny_city, tmp_path / "two", optimizer_config__batch_size=7, **extra)
    alone = train(one)
    command = command_line(two, tmp_path / "program")
    if kind == "vanilla":
        ended = run_program(torchrun(command), tmp_path)
        assert ended.returncode == 0, ended.stderr
        spoken = ended.stderr
    else:
        spoken = run_as_ranks(command, tmp_path)
    folder = RunFolder.of(two).path
    together = json.loads((folder / "metrics.json").read_text())["epochs"]
    assert len(together) == len(alone.history)
    for expected, found in zip(alone.history, together, strict=True):
        for name, value in expected.items():
            if name != "seconds":
                assert found[name] == pytest.approx(value, abs=1e-5), name
    assert spoken.count("Epoch 2: loss") == 1  # only one process speaks


def test_a_signal_while_processes_compare_theirs_is_not_lost() -> None:
    class Two(Processes):
        def max(self, tensor: Tensor) -> Tensor:
            if not own.received:  # after this process has said that it has none
                signal.raise_signal(signal.SIGTERM)
            return tensor

    with ShutdownSignals() as own:
        signals = AgreedSignals(own, Two(world_size=2), torch.device("cpu"))
        signals.agree()
        assert own.received == signal.SIGTERM and signals.received is None
        signals.agree()
        assert signals.received == own.received == signal.SIGTERM


SIGNAL_WHILE_VALIDATING = """
import os, signal, sys
from typing import Any
import training.run
from train_with_distill import main
from runtime.errors import run_main

validate, receiver = training.run.validate, sys.argv.pop(1)

def and_be_told(*arguments: Any, **more: Any) -> Any:
    result = validate(*arguments, **more)
    if os.environ["RANK"] == receiver:
        os.kill(os.getpid(), signal.SIGTERM)
    return result

training.run.validate = and_be_told
run_main(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("receiver", [0, 1])
def test_a_signal_to_one_process_after_an_epoch_stops_all(
    tiny_city: Path, tmp_path: Path, receiver: int
) -> None:
    config = tiny_config(tiny_city, tmp_path / "save", optimizer_config__max_epoch=3)
    script = tmp_path / "told.py"
    script.write_text(SIGNAL_WHILE_VALIDATING)
    python, _, *options = command_line(config, tmp_path / "program")
    command = [python, str(script), str(receiver), *options]
    if receiver:
        ended = run_program(torchrun(command), tmp_path)
        assert ended.returncode == 0, ended.stderr
        spoken = ended.stderr
    else:
        spoken = run_as_ranks(command, tmp_path)
    assert spoken.count("Stopped by a signal; the state is saved in") == 1
    state = torch.load(RunFolder.of(config).latest, weights_only=True)
    assert state["progress"]["epoch"] == 1


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run(tiny_city: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_city, tmp_path, optimizer_config__max_epoch=500)
    command = torchrun(command_line(config, tmp_path / "program"))
    process = start(command, tmp_path, environment(PYTHON_EXEC=str(server().python)))
    latest = RunFolder.of(config).latest
    deadline = time.monotonic() + 60
    while not latest.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    children = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run(["kill", "-KILL", children[-1]], check=True)
    errors = process.communicate(60)[1]
    assert process.returncode != 0
    assert "exitcode" in errors or "SIGKILL" in errors or "Signal 9" in errors
