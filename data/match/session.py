"""Matching a whole set of points: piece by piece, several at a time, resumable after a kill.

Everything in progress lies in `.match` inside the dataset folder and goes when all is done.
"""

from __future__ import annotations

import contextlib
import json
import queue
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.match.cleaning import clean, thin
from data.match.hints import warn_of_unread, why_no_trip
from data.match.matcher import Matcher, estimate_sigma_m
from data.match.network import METRES_PER_DEGREE, MatchNetwork
from data.match.piece_work import match_piece
from data.match.pieces import Pieces, known_pieces, make_pieces
from data.match.point_files import PointFiles
from data.match.point_output import write_places
from data.match.report import write_reports
from data.match.results import PieceFile, Sample, draw_sample, is_whole, write_piece
from data.match.settings import MatchSettings, model_for
from data.match.trip_output import PLACES_NAME, trip_results, write_trips
from data.match.work_folder import WORK_FOLDER, open_work, work_lock
from runtime.errors import UserError
from runtime.files import read_json, sha256_of_json, write_json
from runtime.logs import get_logger
from runtime.results import Results

logger = get_logger("match")

_POINTS_FOR_SIGMA = 100_000


@dataclass(frozen=True)
class Job:
    """Which points, which network, and how."""

    files: PointFiles
    data_dir: Path
    settings: MatchSettings
    threads: int = 1
    force: bool = False
    progress: bool = True

    @property
    def results(self) -> Results:
        """The files that it writes."""
        return trip_results(self.data_dir, self.force)

    def check(self) -> None:
        """Refuses what makes no sense or is in the way, before any work is done."""
        self.settings.check()
        if self.threads < 1:
            raise UserError(f"--processes is {self.threads}; expected at least 1.")
        self.results.check()

    def fingerprint(self, network: MatchNetwork) -> str:
        """What work in progress must agree in to be gone on with."""
        return sha256_of_json([self.files.fingerprint(), repr(self.settings), network.content_hash])


def match_points(job: Job) -> dict[str, Any]:
    """Writes the trips and the reports into the dataset folder; returns the report's content."""
    job.check()
    network = MatchNetwork.load(job.data_dir)
    with work_lock(job.data_dir):
        started = time.perf_counter()
        work = open_work(job.data_dir, job.fingerprint(network))
        pieces = known_pieces(work) or _make_pieces(job, work)
        sigma = _sigma(work, pieces, network, job.settings)
        logger.info(
            "%s points of %s vehicles; the receivers err by %.1f m.",
            f"{pieces.num_points:,}",
            f"{len(pieces.vehicles):,}",
            sigma,
        )
        matched_s = _match_all(job, network, pieces, sigma)
        parts = [PieceFile(work, piece) for piece in range(pieces.num_pieces)]
        report = _summary(parts, pieces, sigma, matched_s)
        _check_any(report, network, job)
        with job.results.written():
            report["trips_in"] = write_trips(job.data_dir, parts, pieces.vehicles, job.settings)
            if job.settings.keep_points:
                write_places(job.data_dir / PLACES_NAME, parts, pieces.vehicles)
            else:
                (job.data_dir / PLACES_NAME).unlink(missing_ok=True)
            report["seconds_in_all"] = round(time.perf_counter() - started, 2)
            write_reports(job.data_dir, report, _samples(parts), network)
        shutil.rmtree(work)
    warn_of_unread(report["counts"], job.files)
    return report


def _make_pieces(job: Job, work: Path) -> Pieces:
    from tqdm import tqdm

    with tqdm(desc="Reading", unit=" points", unit_scale=True, disable=not job.progress) as bar:
        return make_pieces(job.files, work, bar.update)


def _sigma(work: Path, pieces: Pieces, network: MatchNetwork, settings: MatchSettings) -> float:
    """The receivers' error: given, known from before the kill, or estimated from a piece."""
    if settings.sigma_m is not None:
        return settings.sigma_m
    known = work / "sigma.json"
    if known.exists():
        with contextlib.suppress(UserError, TypeError, ValueError):
            return float(read_json(known))
    largest = max(range(pieces.num_pieces), key=pieces.size)
    records = pieces.read(largest)[:_POINTS_FOR_SIGMA]
    ignored: Counter[str] = Counter()
    points, _ = thin(records, clean(records, settings.cleaning, ignored), 10.0, ignored)
    sigma = estimate_sigma_m(network, points.lon, points.lat)
    write_json(known, sigma)
    return sigma


def _match_all(job: Job, network: MatchNetwork, pieces: Pieces, sigma: float) -> float:
    """Matches the pieces that are not matched yet; the seconds it took."""
    from tqdm import tqdm

    todo = [p for p in range(pieces.num_pieces) if not is_whole(PieceFile(pieces.folder, p))]
    model = model_for(sigma, job.settings.max_radius_m)
    matchers: queue.SimpleQueue[Matcher] = queue.SimpleQueue()
    for _ in range(min(job.threads, max(1, len(todo)))):
        matchers.put(Matcher(network, model))

    def work(piece: int) -> int:
        matcher = matchers.get()
        try:
            records = pieces.read(piece)
            result = match_piece(records, matcher, job.settings)
            sample = draw_sample(records, result.trips, network) if piece == 0 else Sample()
            write_piece(PieceFile(pieces.folder, piece), result, sample)
            return len(records)
        finally:
            matchers.put(matcher)

    started = time.perf_counter()
    with (
        ThreadPoolExecutor(job.threads) as pool,
        tqdm(
            total=pieces.num_points,
            initial=pieces.num_points - sum(map(pieces.size, todo)),
            desc="Matching",
            unit=" points",
            unit_scale=True,
            disable=not job.progress,
        ) as bar,
    ):
        futures = [pool.submit(work, piece) for piece in todo]
        try:
            for future in as_completed(futures):
                bar.update(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return time.perf_counter() - started


def _summary(
    parts: list[PieceFile], pieces: Pieces, sigma: float, matched_s: float
) -> dict[str, Any]:
    counts: Counter[str] = Counter()
    distances: Any = 0
    lengths: Any = 0
    for part in parts:
        with part.open() as arrays:
            counts.update(json.loads(bytes(arrays["counts"])))
            distances = distances + arrays["distances"]
            lengths = lengths + arrays["length_histogram"]
    return {
        "counts": {key: value for key, value in counts.items() if value},
        "vehicles": len(pieces.vehicles),
        "sigma_m": round(sigma, 2),
        "point_distance_histogram": np.asarray(distances).tolist(),
        "trip_length_histogram": np.asarray(lengths).tolist(),
        "matching_seconds": round(matched_s, 2),
        "points_per_second": round(pieces.num_points / max(matched_s, 1e-9)),
    }


def _check_any(report: dict[str, Any], network: MatchNetwork, job: Job) -> None:
    """A `UserError` where not a single trip came out."""
    if report["counts"].get("trips"):
        return
    shutil.rmtree(job.data_dir / WORK_FOLDER, ignore_errors=True)
    counts, vehicles = report["counts"], report["vehicles"]
    found = ", ".join(f"{value} × {key}" for key, value in counts.items())
    raise UserError(
        f"No trip came out of {job.files.files[0]} ({found}). "
        + (why_no_trip(counts, vehicles, job.files) or _other_place(network, job.data_dir))
    )


def _other_place(network: MatchNetwork, data_dir: Path) -> str:
    lon, lat = network.roads.x / METRES_PER_DEGREE, network.roads.y / METRES_PER_DEGREE
    return (
        f"The roads of {data_dir} lie in longitude {lon.min():.3f} to {lon.max():.3f}, latitude "
        f"{lat.min():.3f} to {lat.max():.3f}; are these the points of this city, and lat and lon "
        "the right way round?"
    )


def _samples(parts: list[PieceFile]) -> Sample:
    with parts[0].open() as arrays:
        return Sample.from_json(bytes(arrays["sample"]).decode())
