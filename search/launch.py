"""Runs a request to its end: in this process, in several on the CPU, or under `torchrun`."""

from __future__ import annotations

import datetime
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from tqdm import tqdm

from runtime.errors import UserError
from runtime.logs import get_logger
from search.output import Output
from search.scorer import ScoringCost
from search.session import GenerationRequest, Session
from search.workers import generate_into, generate_parts, run_workers, share_out
from search.writer import Tally

logger = get_logger("generate")

# Ranks wait for the slowest one, however long a large request takes.
_TIMEOUT = datetime.timedelta(days=30)


@dataclass(frozen=True)
class Ranks:
    """This process among those that `torchrun` has started."""

    rank: int = 0
    world_size: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Joins the others over gloo, whatever the device: only plain values are exchanged."""
        world_size = os.environ.get("WORLD_SIZE", "1")
        if world_size in ("", "1"):
            return cls()
        if not dist.is_initialized():
            try:
                dist.init_process_group("gloo", timeout=_TIMEOUT)
            except (RuntimeError, ValueError) as error:
                raise UserError(
                    f"Joining {world_size} processes failed ({error}); start them with torchrun."
                ) from error
        return cls(dist.get_rank(), dist.get_world_size())

    def leave(self) -> None:
        """Leaves the others."""
        if self.world_size > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def share(self, value: Any) -> Any:
        """The first process's value, on every process."""
        box = [value]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, on every process, once all are there."""
        box = [value] * self.world_size
        if self.world_size > 1:
            dist.all_gather_object(box, value)
        return box


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


@dataclass(frozen=True)
class RunPlan:
    """Where and how a request is run."""

    output: Path
    device: torch.device
    ranks: Ranks
    processes: int
    resume: bool
    show_progress: bool


def run_request(request: GenerationRequest, plan: RunPlan) -> RunReport:
    """Generates what is missing of the output; under `torchrun`, this process's share of it."""
    started = time.perf_counter()
    session = Session(request, plan.device)
    if plan.processes == 1:
        session.prepare()
    if plan.ranks.rank > 0:
        return _help(session, plan, started)
    output = Output(plan.output, session.source, session.identity())
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
    return RunReport(tally, done.trips, cost, generating - started, wall, output.identity)


def _generate(
    request: GenerationRequest,
    session: Session,
    output: Output,
    plan: RunPlan,
    progress: Progress,
) -> ScoringCost:
    ranks, processes = plan.ranks, plan.processes
    missing = output.missing()
    if ranks.world_size > 1:
        shares = ranks.share(share_out(missing, ranks.world_size))
        generate_parts(session, output.path, shares[0], progress.add)
        cost = ScoringCost()
        for of_rank, tally in ranks.gather((session.scorer.cost, Tally())):
            cost.add(of_rank)
            progress.add(tally)
        output.find_parts()
        return cost
    num_missing = sum(end - begin for begin, end in missing)
    if processes > 1 and num_missing > 1:
        shares = [share for share in share_out(missing, processes) if share]
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
    shares = plan.ranks.share(None)
    generating = time.perf_counter()
    tally = Tally()
    generate_parts(session, plan.output, shares[plan.ranks.rank], tally.add)
    cost = session.scorer.cost
    plan.ranks.gather((cost, tally))
    wall = time.perf_counter() - generating
    return RunReport(tally, 0, cost, generating - started, wall, {})
