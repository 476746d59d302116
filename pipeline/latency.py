"""How long one trip takes by itself: median and 95th percentile, for comparing searches.

Trips are generated one at a time, unlike in a real run, which searches many at once and is faster
for all of them together.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from config.generation import PairSettings
from pipeline.generation import training_config
from pipeline.plan import Job, Plan
from runtime.device import resolve_device
from runtime.errors import UserError
from runtime.files import read_json, write_json
from search.request import GenerationRequest
from search.session import Session

TRIPS = 40
WARM_UP = 3
PATIENCE_S = 20.0  # after which fewer trips must do


@dataclass(frozen=True)
class Latency:
    """Seconds of a trip by itself, from so many trips."""

    median: float
    p95: float
    trips: int


def latency_file(job: Job) -> Path:
    """Where a job's latency is kept, beside its trips."""
    return job.generated_file.with_suffix(".latency.json")


def latency_of(job: Job, plan: Plan) -> Latency | None:
    """The job's latency, measured where it is not known; None for a baseline."""
    if job.model.baseline is not None:
        return None
    file = latency_file(job)
    if file.is_file():
        try:
            known = read_json(file)
            return Latency(float(known["median"]), float(known["p95"]), int(known["trips"]))
        except (UserError, KeyError, TypeError, ValueError):
            pass  # damaged: measured anew
    found = _measure(job, plan)
    write_json(file, asdict(found))
    return found


def _measure(job: Job, plan: Plan) -> Latency:
    settings = plan.config
    device = resolve_device(settings.cuda_device, settings.device)
    request = GenerationRequest(
        config=training_config(job.model, plan, **{"training.device": str(device)}),
        model_path=job.model.file,
        num_trips=max(TRIPS, settings.num_gene),
        pairs=PairSettings(job.od_source),
        search=job.search,
        trips_in_flight=1,
    )
    seconds = []
    with torch.inference_mode():
        session = Session(request, device)
        session.prepare()
        begun = time.perf_counter()
        for number in range(-WARM_UP, TRIPS):
            started = time.perf_counter()
            list(session.generate(max(number, 0), max(number, 0) + 1))
            if number >= 0:
                seconds.append(time.perf_counter() - started)
            if seconds and time.perf_counter() - begun > PATIENCE_S:
                break
    return Latency(float(np.median(seconds)), float(np.percentile(seconds, 95)), len(seconds))
