"""Several processes on one request: each takes some of the missing trips and writes its own file.

Parts are stretches of consecutive requests, so putting them behind each other gives the same file
as one process. A worker whose parent is gone stops by itself.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import traceback
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from runtime.errors import UserError
from search.output import Range, part_path
from search.request import GenerationRequest
from search.scorer import ScoringCost
from search.session import Session
from search.writer import ORPHAN_PATIENCE_S, Tally, TripWriter, format_row, tally_of

OnProgress = Callable[[Tally], None]
_POLL_SECONDS = 0.5


def share_out(ranges: list[Range], num_shares: int) -> list[list[Range]]:
    """Cuts the ranges into shares of about the same number of consecutive requests."""
    total = sum(end - begin for begin, end in ranges)
    shares: list[list[Range]] = [[] for _ in range(num_shares)]
    done = 0
    for begin, end in ranges:
        while begin < end:
            share = done * num_shares // total
            full = -(-(share + 1) * total // num_shares)  # so many are done after this share
            stop = min(end, begin + full - done)
            shares[share].append((begin, stop))
            done += stop - begin
            begin = stop
    return shares


def generate_into(
    writer: TripWriter, session: Session, part: Range, on_progress: OnProgress
) -> None:
    """Generates the trips of a range and appends them to an open file."""
    written = Tally()
    for trip in session.generate(*part):
        written.add(tally_of(trip))
        if writer.add(format_row(trip)):
            on_progress(written)
            written = Tally()
    writer.flush()
    on_progress(written)


def generate_parts(
    session: Session, output: Path, share: list[Range], on_progress: OnProgress
) -> None:
    """Generates a share of the missing trips into part files."""
    for part in share:
        path = part_path(output, part[0])
        patience_s = ORPHAN_PATIENCE_S
        with TripWriter(path, append=False, header=False, patience_s=patience_s) as writer:
            generate_into(writer, session, part, on_progress)


def run_workers(
    request: GenerationRequest, output: Path, shares: list[list[Range]], on_progress: OnProgress
) -> ScoringCost:
    """Generates every share in a process of its own, on the CPU."""
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // len(shares))
    workers: list[BaseProcess] = [
        context.Process(
            target=_work,
            args=(request, output, share, threads, messages),
            daemon=True,
        )
        for share in shares
    ]
    cost = ScoringCost()
    try:
        for worker in workers:
            worker.start()
        running = len(workers)
        while running:
            try:
                kind, value = messages.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                _check_alive(workers)
                continue
            if kind == "progress":
                on_progress(value)
            elif kind == "done":
                cost.add(value)
                running -= 1
            elif kind == "user error":
                raise UserError(value)
            else:
                raise RuntimeError(f"A worker process failed:\n{value}")
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()
    return cost


def _check_alive(workers: list[BaseProcess]) -> None:
    for worker in workers:
        if worker.exitcode not in (None, 0):
            raise UserError(
                f"A worker process was killed (exit code {worker.exitcode}), perhaps for want of "
                "memory; run again with --resume, and fewer --processes or a smaller --batch_size."
            )


def _work(
    request: GenerationRequest,
    output: Path,
    share: list[Range],
    num_threads: int,
    messages: Any,
) -> None:
    """What a worker process does."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def report(tally: Tally) -> None:
        if not parent.is_alive():
            os._exit(1)
        messages.put(("progress", tally))

    try:
        torch.set_num_threads(num_threads)
        session = Session(request, torch.device("cpu"))
        report(Tally())
        generate_parts(session, output, share, report)
        messages.put(("done", session.scorer.cost))
    except KeyboardInterrupt:
        pass
    except UserError as error:
        messages.put(("user error", str(error)))
    except BaseException:
        messages.put(("error", traceback.format_exc()))
