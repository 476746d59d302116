"""Runs a request to its end: in this process, in several on the CPU, or under `torchrun`."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from tqdm import tqdm

from runtime.distributed import Processes
from runtime.inputs import UNKNOWN, Inputs
from runtime.logs import get_logger
from search.output import Output
from search.request import GenerationRequest
from search.scorer import ScoringCost
from search.session import Session
from search.workers import generate_into, generate_parts, run_workers, share_out
from search.writer import Tally

logger = get_logger("generate")

# Processes wait for the slowest one, however long a large request takes.
SLOWEST_SHARE = datetime.timedelta(days=30)


class Progress:
    """The progress bar, with trips a second and the share that reached the destination."""

    def __init__(self, done: Tally, total: int, *, show: bool) -> None:
        self.tally = Tally()
        self.tally.add(done)
        self._bar = tqdm(
            total=total, initial=done.trips, unit=" trips", desc="Generating", disable=not show
        )

    def add(self, tally: Tally) -> None:
        """Counts trips that have been written."""
        self.tally.add(tally)
        if self.tally.trips:
            share = self.tally.reached / self.tally.trips
            self._bar.set_postfix_str(f"{share:.1%} reached", refresh=False)
        self._bar.update(tally.trips)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()


@dataclass(frozen=True)
class RunReport:
    """What has been generated, by this run and by earlier ones that it took up."""

    tally: Tally
    resumed: int  # trips that were there already
    cost: ScoringCost
    load_seconds: float
    wall_seconds: float
    identity: dict[str, Any]  # what the trips depend on
    inputs: Inputs


@dataclass(frozen=True)
class RunPlan:
    """Where and how a request is run."""

    output: Path
    device: torch.device
    group: Processes  # that torchrun has started, this one among them
    workers: int  # processes that this one starts itself, on the CPU
    resume: bool
    show_progress: bool


def run_request(request: GenerationRequest, plan: RunPlan) -> RunReport:
    """Generates what is missing of the output; under `torchrun`, this process's share of it."""
    started = time.perf_counter()
    session = Session(request, plan.device)
    if plan.workers == 1:
        session.prepare()
    if not plan.group.is_main:
        return _help(session, plan, started)
    session.city.say_what_differs()
    output = Output(plan.output, session.source, session.identity(), session.city.made_from())
    try:
        output.open(resume=plan.resume)
        done = output.done()
        if done.trips:
            logger.info("%d of %d trips are there already.", done.trips, len(session.source))
        with Progress(done, len(session.source), show=plan.show_progress) as bar:
            generating = time.perf_counter()
            cost = _generate(request, session, output, plan, bar)
            output.absorb_parts()
            wall = time.perf_counter() - generating
            tally = bar.tally
    finally:
        output.close()
    load = generating - started
    return RunReport(tally, done.trips, cost, load, wall, output.identity, output.inputs)


def _generate(
    request: GenerationRequest,
    session: Session,
    output: Output,
    plan: RunPlan,
    progress: Progress,
) -> ScoringCost:
    group = plan.group
    missing = output.missing()
    if group.world_size > 1:
        shares = group.broadcast(share_out(missing, group.world_size))
        generate_parts(session, output.path, shares[0], progress.add)
        cost = ScoringCost()
        for of_rank, tally in group.gather((session.scorer.cost, Tally())):
            cost.add(of_rank)
            progress.add(tally)
        output.find_parts()
        return cost
    num_missing = sum(end - begin for begin, end in missing)
    if plan.workers > 1 and num_missing > 1:
        shares = [share for share in share_out(missing, plan.workers) if share]
        cost = run_workers(request, output.path, shares, progress.add)
        output.find_parts()
        return cost

    def on_progress(tally: Tally) -> None:
        output.count(tally)
        progress.add(tally)

    for part in missing:
        generate_into(output.writer, session, part, on_progress)
        output.absorb_parts()
    return session.scorer.cost if missing else ScoringCost()


def _help(session: Session, plan: RunPlan, started: float) -> RunReport:
    """What every process but the first does under `torchrun`."""
    shares = plan.group.broadcast(None)
    generating = time.perf_counter()
    tally = Tally()
    generate_parts(session, plan.output, shares[plan.group.rank], tally.add)
    cost = session.scorer.cost
    plan.group.gather((cost, tally))
    wall = time.perf_counter() - generating
    return RunReport(tally, 0, cost, generating - started, wall, {}, UNKNOWN)
