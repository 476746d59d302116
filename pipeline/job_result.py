"""What became of one job of the pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metrics.assessment import Assessment
from pipeline.plan import Job


@dataclass
class JobResult:
    """What became of a job; `results` is the content of its `results.json`."""

    job: Job
    generation: str = "not asked for"
    evaluation: str = "not asked for"
    error: str | None = None
    results: dict[str, Any] | None = None
    assessment: Assessment | None = None
    evaluation_key: str | None = None
