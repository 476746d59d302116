"""A generation from its request to the file of trips and the record beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from config.generation import Execution
from data.generation_record import record_path
from runtime.device import resolve_device
from runtime.distributed import join, leave, local_device
from runtime.errors import UserError
from runtime.files import sha256_of_file, write_json
from runtime.inputs import KEY
from runtime.logs import get_logger
from runtime.memory import out_of_memory_advice
from search.launch import SLOWEST_SHARE, RunPlan, RunReport, run_request
from search.request import GenerationRequest
from search.searches import label_of

logger = get_logger("generate")

MEMORY_ADVICE = "lower --batch_size, --beam_width or --processes; --resume goes on with the output."


@dataclass(frozen=True)
class GenerationResult:
    """Where the trips are, and how the generation went."""

    output: Path
    performance: Path  # the JSON file with these figures and what the trips depend on
    search: str
    device: str
    processes: int
    trips: int
    reached: int
    reached_rate: float
    mean_roads: float
    mean_trip_seconds: float
    mean_log_prob: float
    resumed: int  # trips that an earlier run had left
    wall_seconds: float  # of generating, without loading
    load_seconds: float
    trips_per_second: float
    seconds_per_trip: float
    forward_passes: int
    encoded_positions: int

    def figures(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


def run(request: GenerationRequest, output: Path, execution: Execution) -> GenerationResult:
    """Generates what is asked for, alone or as one of `torchrun`'s processes."""
    group = join(torch.device("cpu"), SLOWEST_SHARE)
    place = local_device(resolve_device(None, request.config.training.device))
    if execution.processes > 1 and (group.world_size > 1 or place.type != "cpu"):
        raise UserError("--processes is for one CPU; on GPUs and machines use torchrun.")
    path = Path(group.broadcast(str(output)))
    if path.suffix == ".json":
        raise UserError(f"The output {path} must not end in .json; the figures go beside it.")
    show = execution.progress and group.is_main
    plan = RunPlan(path, place, group, execution.processes, execution.resume, show)
    try:
        with torch.inference_mode(), out_of_memory_advice(MEMORY_ADVICE):
            report = run_request(request, plan)
        result = _result(request, plan, report)
        if group.is_main:
            _record(result, report)
        return result
    finally:
        leave()


def _result(request: GenerationRequest, plan: RunPlan, report: RunReport) -> GenerationResult:
    tally, generated = report.tally, report.tally.trips - report.resumed
    trips = max(tally.trips, 1)
    return GenerationResult(
        output=plan.output,
        performance=record_path(plan.output),
        search=label_of(request.search),
        device=str(plan.device),
        processes=max(plan.workers, plan.group.world_size),
        trips=tally.trips,
        reached=tally.reached,
        reached_rate=tally.reached / trips,
        mean_roads=tally.roads / trips,
        mean_trip_seconds=tally.trip_seconds / trips,
        mean_log_prob=tally.log_prob / trips,
        resumed=report.resumed,
        wall_seconds=report.wall_seconds,
        load_seconds=report.load_seconds,
        trips_per_second=generated / max(report.wall_seconds, 1e-9),
        seconds_per_trip=report.wall_seconds / max(generated, 1),
        forward_passes=report.cost.forward_passes,
        encoded_positions=report.cost.positions,
    )


def _record(result: GenerationResult, report: RunReport) -> None:
    """Completes the JSON file beside the trips, and says how it went."""
    checksum = sha256_of_file(result.output)
    figures = {"status": "complete", **result.figures(), "sha256": checksum}
    record = {**figures, "request": report.identity, KEY: report.inputs.to_json()}
    write_json(result.performance, record)
    logger.info(
        "%d trips are in %s: %.1f %% reached their destination, %.1f trips a second.",
        result.trips,
        result.output,
        100 * result.reached_rate,
        result.trips_per_second,
    )
