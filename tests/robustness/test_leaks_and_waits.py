"""What reaches a screen or a report, files that never end, and waiting that can be ended."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from critics.cache_builder import open_or_build
from critics.checkpoint_reader import read_checkpoint
from critics.road_teacher import road_teacher
from data.csv_reading import MAX_LINE_CHARS, read_header
from data.road_network import RoadNetwork
from dataset import TripDataset
from evaluation import load_reference
from metrics.reference import Settings
from report import sections
from report.tables import markdown_table, screen_table
from runtime.errors import UserError, run_main
from runtime.files import FolderLock, is_disk_failure, read_json
from runtime.logs import ROOT, add_log_file, get_logger, remove_log_file, setup_logging
from runtime.shutdown import ShutdownSignals, Stopped
from runtime.wandb_run import has_credentials
from tests.programs import run_for_real
from tests.training_helpers import random_teacher
from tuning import tables
from tuning.storage import StorageAddress, open_storage

ODD = 'x\x1b[31m<img src=x onerror="a">|\u202e'


def test_shared_lists_in_a_pickle_are_read_once(tmp_path: Path) -> None:
    nested: Any = ["x"] * 8
    for _ in range(40):
        nested = [nested] * 8
    path = tmp_path / "bomb.pth"
    torch.save({"model": nested}, path)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"bomb\.pth: .*more items than any training"):
        read_checkpoint(path)
    assert time.monotonic() - began < 5
    shared = [1, 2]
    torch.save({"a": shared, "b": shared}, path)
    assert read_checkpoint(path) == {"a": [1, 2], "b": [1, 2]}


def test_names_are_text_on_the_screen_and_in_markdown() -> None:
    for text in (screen_table([[ODD]], ["model"]), markdown_table([[ODD]], ["model"])):
        assert "\x1b" not in text and "\u202e" not in text
    assert "<img" not in markdown_table([[ODD]], ["model"])


def test_names_in_headings_and_remarks_are_text_as_well() -> None:
    table = sections.Table(ODD, ["model"], [[ODD]])
    section = sections.Section("odd", ODD, "note", [table], warnings=[ODD])
    study = tables.Table(ODD, ["note"], [[ODD]])
    for text in (section.to_markdown(), study.markdown()):
        assert "\x1b" not in text and "\u202e" not in text and "<img" not in text


def test_what_a_program_prints_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run_main(lambda: print("ro\x1b[31md\r", "Wörgl\ttrunk"))
    assert capsys.readouterr().out == "ro\\x1b[31md\\r Wörgl\ttrunk\n"


def test_what_a_library_writes_tells_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        for stream in (sys.stdout, sys.stderr):
            print("Credentials for http://ann:secret@host, half\r", end="", file=stream)

    with pytest.raises(SystemExit):
        run_main(write)
    found = capsys.readouterr()
    assert found.out == "Credentials for http://ann:***@host, half\\r"
    assert found.err == "Credentials for http://ann:***@host, half\r"


def test_what_a_library_warns_of_moves_no_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    with pytest.raises(SystemExit):
        run_main(lambda: None)
    text = warnings.formatwarning("no glyph for \x1b[31m", UserWarning, "plots.py", 1, "x")
    assert "no glyph for \\x1b[31m\n" in text and "\x1b" not in text


def test_logs_move_no_cursor_and_tell_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What pytest captured, half of a character included, would not travel to the other process.
    monkeypatch.setattr(logging.getLogger(ROOT), "propagate", False)
    handler = add_log_file(tmp_path / "log.txt")
    logger = logging.getLogger("hoser_distil.test")
    logger.warning("Reading %s from postgresql://ann:secret@host/x, caf\udce9.", ODD)
    logger.info("%d %% of %s:\n\n%s", 100, "a city\nof two lines", "a table\nof two rows")
    logger.info("%s is done.", Path("a city\nof two lines"))
    remove_log_file(handler)
    text = (tmp_path / "log.txt").read_text(encoding="utf-8")
    *_, first, nothing, table, row, last = text.splitlines()
    assert first.endswith(r"100 % of a city\nof two lines:") and last.endswith(
        r"of two lines is done."
    )
    assert (nothing, table, row) == ("", "a table", "of two rows")
    assert "\x1b" not in text and "secret" not in text and "ann:***@host" in text


def test_what_a_driver_takes_for_a_host_is_struck_out() -> None:
    address = StorageAddress.parse("postgresql://ann:a@s3cret@127.0.0.1:1/n")
    with pytest.raises(UserError, match="cannot be opened") as refused:
        open_storage(address)
    assert "s3cret" not in str(refused.value)


def test_ctrl_c_while_a_line_is_logged_is_no_error_of_logging(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stumble(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise AttributeError("the lock is not there yet")  # as tqdm does

    setup_logging()
    monkeypatch.setattr("tqdm.tqdm.write", stumble)
    with pytest.raises(KeyboardInterrupt):
        get_logger("test").warning("anything")


def test_ctrl_c_after_the_work_is_no_traceback(tmp_path: Path) -> None:
    code = """
import atexit, os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
atexit.register(os.kill, os.getpid(), signal.SIGINT)
from runtime.errors import run_main
run_main(lambda: 0)
"""
    ended = run_for_real([sys.executable, "-c", code], tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")


FAULTS: list[tuple[Exception, str]] = [
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "there"), "there: No such file"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "x\x1b"), "File name too long"),
    (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"), "cannot be understood"),
    (ValueError("embedded null byte"), "NUL character"),
    (ValueError("PosixPath('/') has an empty name"), "A file's name was expected (PosixPath('/')"),
    (UserError("postgresql://ann:secret@host is not there"), "ann:***@host"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "deep/" * 2000), "No such file"),
    (RuntimeError("can't start new thread"), "There is not enough memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "There is not enough memory"),
    (RuntimeError("Symlink loop from 'a/b'"), "A link leads back to itself ('a/b')"),
]


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
def test_faults_of_the_system_are_one_line(
    capsys: pytest.CaptureFixture[str], fault: Exception, reason: str
) -> None:
    def main() -> int:
        raise fault

    with pytest.raises(SystemExit) as ended:
        run_main(main)
    shown = capsys.readouterr().err
    assert ended.value.code == 2 and shown.count("\n") == 1 and shown.startswith("error: ")
    assert reason in shown and "\x1b" not in shown and "secret" not in shown
    assert len(shown) < 2100


def test_bugs_keep_their_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_main(lambda: 1 // 0)


def test_files_that_are_no_text_do_not_fill_the_memory(tmp_path: Path) -> None:
    huge = tmp_path / "huge.csv"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(UserError, match=f"more than {MAX_LINE_CHARS} characters"):
        read_header(huge)
    with pytest.raises(UserError, match="larger than any JSON"):
        read_json(huge)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"machine x login\n", b'default "'])
def test_an_odd_netrc_is_no_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "netrc").write_bytes(content)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    assert not has_credentials()


def test_waiting_for_a_lock_says_for_whom_and_ends_on_a_signal(
    tmp_path: Path, messages: list[str]
) -> None:
    with FolderLock(tmp_path), ShutdownSignals():
        timer = threading.Timer(1.3, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped):
            FolderLock(tmp_path, wait=True).acquire()
        assert time.monotonic() - began < 3
        timer.join()
    assert f"Waiting for process {os.getpid()}, which is working in {tmp_path}." in messages
    FolderLock(tmp_path, wait=True).acquire()


def test_a_teacher_s_cache_is_left_in_good_order_on_a_signal(
    tiny_city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = RoadNetwork.load(tiny_city)
    dataset = TripDataset.load(tiny_city, "train", network)
    teacher = road_teacher(random_teacher(tiny_city), network)
    monkeypatch.setattr("critics.cache_builder.POSITIONS_PER_CHUNK", 50)
    monkeypatch.setattr("critics.cache_builder.SHARING_FACTOR", 1)
    whole = open_or_build(tmp_path / "whole", dataset, teacher, progress=False)
    with ShutdownSignals() as signals:
        signals.received = signal.SIGTERM
        with pytest.raises(Stopped):
            open_or_build(tmp_path / "cut", dataset, teacher, progress=False)
    assert list((tmp_path / "cut").glob("teacher-train-*/journal.json"))
    again = open_or_build(tmp_path / "cut", dataset, teacher, progress=False)
    assert torch.equal(again.values, whole.values)


def test_a_full_disk_is_found_at_the_bottom_of_an_error() -> None:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise UserError("x cannot be written") from error
    except UserError as error:
        assert is_disk_failure(error)
    assert not is_disk_failure(OSError(errno.ENOENT, "missing")) and not is_disk_failure(None)


def test_the_interpreter_recurses_on_no_pickle(tmp_path: Path) -> None:
    path = tmp_path / "deep.pth"
    path.write_bytes(b"\x80\x02" + b"]" * 5000 + b"a" * 4999 + b".")
    with pytest.raises(UserError, match=r"deep\.pth"):
        read_checkpoint(path)


@pytest.mark.parametrize("script", ["train_with_distill", "evaluation", "tune_hoser"])
def test_an_interrupted_import_is_no_traceback(tmp_path: Path, script: str) -> None:
    # A suite that runs in the background of a shell passes on that Ctrl-C is not for it.
    heeded = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code = f"{heeded}import config, os\nos.kill(os.getpid(), signal.SIGINT)\nimport {script}"
    ended = run_for_real([sys.executable, "-c", code], tmp_path)
    assert ended.stderr == "Interrupted.\n" and ended.returncode in (130, -signal.SIGINT)


@pytest.mark.parametrize("change", [{"seed": -1}, {"bootstrap": 10**12}, {"bootstrap": -1}])
def test_settings_of_an_evaluation_are_bounded(tiny_city: Path, change: dict[str, int]) -> None:
    with pytest.raises(UserError, match=f"{next(iter(change))} is "):
        load_reference(tiny_city, "test", Settings(**change))  # type: ignore[arg-type]
