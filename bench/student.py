"""What the student costs against its plain formulas: steps, memory, incremental inference.

python -m bench.student [--quick]

The plain student (`bench.reference_student`) and ours take turns in one process on the demo city.
On a GPU it also times compiled bfloat16 steps on a city of 40,000 roads.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench._common import parser, print_table, save, timed, timed_alternately
from bench.memory import PeakMemory
from bench.reference_student import PlainHOSER
from config import Config, load_config
from data.batch import Batch
from data.demo_city.build import make_demo_city
from data.features import FeatureTables, TripRows
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from dataset import TripDataset
from hoser import HOSER
from models.compiling import mark_dynamic
from models.losses import supervised_losses

BATCH_SIZE = 64
LONG_STEPS = 512
PARTIAL_TRIPS, PARTIAL_STEPS = 256, 60
BARS = {"step": 4.0, "memory": 10.0, "incremental": 20.0}
PHASES = ("forward", "backward", "optimizer", "step")


def main() -> None:
    """Runs all parts and prints them beside their bars."""
    options = parser(__doc__ or "").parse_args()
    num_roads = 1500 if options.quick else 7000
    repeats = 3 if options.quick else 9
    config = load_config(None, {"trajectory_encoder_config.max_len": LONG_STEPS})
    with tempfile.TemporaryDirectory() as scratch:
        network, trips = _city(Path(scratch) / "city", num_roads, 2000)
        results: dict[str, Any] = {"roads": network.num_roads}
        results["training"] = _training(config, network, trips, repeats)
        results["memory"] = _memory(config, network, 1 if options.quick else 4)
        results["incremental"] = _incremental(config, network, repeats)
        if torch.cuda.is_available():
            large, trips = _city(Path(scratch) / "large", 3000 if options.quick else 40_000, 4000)
            results["gpu"] = _gpu(config, large, trips)
    if not options.no_save:
        save("student", results)


def _city(folder: Path, num_roads: int, num_trips: int) -> tuple[RoadNetwork, TripDataset]:
    make_demo_city(folder, num_roads, num_trips, progress=False)
    ensure_zones(folder, 300)
    network = RoadNetwork.load(folder)
    return network, TripDataset.load(folder, "train", network)


# Training steps on a CPU


def _training(
    config: Config, network: RoadNetwork, trips: TripDataset, repeats: int
) -> dict[str, Any]:
    chosen = np.random.default_rng(0).permutation(len(trips))[:BATCH_SIZE]
    batch = trips.batch(chosen)
    torch.manual_seed(0)
    plain, ours = PlainHOSER(config, network), HOSER(config, network)
    ours.load_state_dict({k: v for k, v in plain.state_dict().items() if k in ours.state_dict()})
    difference = _largest_logit_difference(plain, ours, batch)
    seconds = _alternate_steps({"plain": plain, "ours": ours}, batch, repeats)
    encoders: dict[str, Callable[[], Tensor]] = {
        "plain": lambda: plain.road_network_encoder()[0],
        "ours": lambda: ours.encode_roads(ours.roads_worth_encoding([batch])).spatial,
        "ours, all roads": lambda: ours.encode_roads().spatial,
    }
    passes: dict[str, Callable[[], Any]] = {
        name: partial(_forward_backward, encode) for name, encode in encoders.items()
    }
    encoding = timed_alternately(passes, repeats=repeats)
    rows = [_compared(p, seconds["plain"][p], seconds["ours"][p]) for p in PHASES]
    for name in ("ours", "ours, all roads"):
        label = "road encoder" + name.removeprefix("ours")
        rows.append(_compared(label, encoding["plain"].median, encoding[name].median))
    ratio = seconds["plain"]["step"] / seconds["ours"]["step"]
    print_table(
        f"One step: {network.num_roads} roads, {BATCH_SIZE} trips of "
        f"{trips.trace_lengths.mean():.0f} roads "
        f"(bar: {BARS['step']:.0f}x; logits differ by {difference:.0e})",
        ["", "plain", "ours", "ratio"],
        rows,
    )
    encoder_seconds = {name: timing.median for name, timing in encoding.items()}
    return {
        "seconds": seconds,
        "road_encoder_seconds": encoder_seconds,
        "ratio": ratio,
        "bar": BARS["step"],
        "logit_difference": difference,
        "positions": int(batch.trace_len.sum()),
    }


def _forward_backward(encode: Callable[[], Tensor]) -> None:
    encode().sum().backward()


def _compared(label: str, plain: float, ours: float) -> list[str]:
    return [label, f"{plain * 1e3:.0f} ms", f"{ours * 1e3:.0f} ms", f"{plain / ours:.1f}x"]


def _largest_logit_difference(plain: nn.Module, ours: nn.Module, batch: Batch) -> float:
    with torch.no_grad():
        difference = (plain(batch)[0] - ours(batch)[0]).abs()
    return float(difference[batch.candidate_mask & batch.position_mask.unsqueeze(2)].max())


def _alternate_steps(
    models: dict[str, nn.Module], batch: Batch, repeats: int
) -> dict[str, dict[str, float]]:
    """Median seconds of each phase of a training step, the models taking turns."""
    optimizers = {
        name: torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        for name, model in models.items()
    }
    runs: dict[str, list[list[float]]] = {name: [] for name in models}
    for _ in range(repeats + 1):
        for name, model in models.items():
            runs[name].append(training_step(model, optimizers[name], batch))
    return {
        name: dict(zip(PHASES, (median(column) for column in zip(*steps[1:], strict=True))))
        for name, steps in runs.items()
    }


def total_loss(model: nn.Module, batch: Batch) -> Tensor:
    logits, time_pred = model(batch)
    losses = supervised_losses(logits, time_pred, batch)
    return losses.next_road + losses.travel_time


def training_step(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> list[float]:
    """Seconds of forward with losses, backward, clipping with the optimizer, and all of it."""
    marks = [time.perf_counter()]
    loss = total_loss(model, batch)
    marks.append(time.perf_counter())
    loss.backward()
    marks.append(time.perf_counter())
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    marks.append(time.perf_counter())
    return [*np.diff(marks).tolist(), marks[-1] - marks[0]]


# Peak memory of long trips


def _memory(config: Config, network: RoadNetwork, num_trips: int) -> dict[str, Any]:
    batch = random_walks(network, num_trips, LONG_STEPS)
    peaks = {}
    for name, model in {
        "plain": PlainHOSER(config, network),
        "ours": HOSER(config, network),
    }.items():
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with PeakMemory() as memory:
            total_loss(model, batch).backward()
        peaks[name] = memory.peak_bytes / 2**20
    checkpointed = HOSER(config, network)
    checkpointed.trajectory_encoder.grad_checkpoint = True
    with PeakMemory() as memory:
        total_loss(checkpointed, batch).backward()
    peaks["ours, gradient checkpointing"] = memory.peak_bytes / 2**20
    print_table(
        f"Peak of what one step allocates, {num_trips} trips of {LONG_STEPS} roads "
        f"(bar: {BARS['memory']:.0f}x)",
        ["", "MiB", "ratio"],
        [[name, f"{mib:.0f}", f"{peaks['plain'] / mib:.1f}x"] for name, mib in peaks.items()],
    )
    ratio = peaks["plain"] / peaks["ours"]
    return {"peak_mib": peaks, "trips": num_trips, "ratio": ratio, "bar": BARS["memory"]}


def random_walks(network: RoadNetwork, num_trips: int, steps: int) -> Batch:
    """Trips that turn at random, as long as wanted."""
    generator = np.random.default_rng(0)
    road_ids = np.zeros((num_trips, steps + 1), dtype=np.int64)
    for row in road_ids:
        row[0] = generator.choice(np.flatnonzero(network.out_degree))
        for t in range(steps):
            onward = [r for r in network.candidates(row[t]) if network.out_degree[r]]
            row[t + 1] = generator.choice(onward) if onward else row[0]
    seconds = np.cumsum(generator.integers(5, 40, road_ids.shape), axis=1) + 28_800
    rows = TripRows(
        road_ids=torch.from_numpy(road_ids),
        seconds=torch.from_numpy(seconds),
        trace_len=torch.full((num_trips,), steps),
        destination_road_id=torch.from_numpy(road_ids[:, -1].copy()),
        first_second=torch.from_numpy(seconds[:, 0].copy()),
        trip_id=torch.arange(num_trips),
        crop_start=torch.zeros(num_trips, dtype=torch.int64),
        max_candidates=int(network.out_degree.max()),
    )
    batch = FeatureTables(network, "cpu").batch(rows, time_mean=3.0, time_std=0.5)
    batch.road_label.clamp_(min=0)  # a walk that found no way out jumped
    return batch


# Incremental inference


def _incremental(config: Config, network: RoadNetwork, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    model = HOSER(config, network).eval()
    batch = random_walks(network, PARTIAL_TRIPS, PARTIAL_STEPS)
    decoder = model.start()
    last = PARTIAL_STEPS - 1
    nodes = torch.full((PARTIAL_TRIPS,), -1)
    for t in range(last):
        step = (batch.trace_road_id[:, t], batch.temporal_info[:, t])
        nodes, _ = decoder.encode_step(nodes, *step)

    @torch.no_grad()
    def one_step() -> Tensor:
        step = (batch.trace_road_id[:, last], batch.temporal_info[:, last])
        _, hidden = decoder.encode_step(nodes, *step)
        return model.next_road_scores(
            hidden,
            decoder.tables,
            batch.destination_road_id,
            batch.candidate_road_id[:, last],
            batch.metric_dis[:, last],
            batch.metric_angle[:, last],
        )[0]

    @torch.no_grad()
    def again() -> Tensor:
        return model(batch, tables=decoder.tables)[0][:, last]

    real = batch.candidate_mask[:, last]
    difference = float((one_step() - again())[real].abs().max())
    timings = timed_alternately({"again": again, "step": one_step}, repeats=repeats, warm_up=2)
    freeing = timed(lambda: decoder.keep(nodes), repeats=repeats).median
    ratio = timings["again"].median / timings["step"].median
    print_table(
        f"One more road for {PARTIAL_TRIPS} partial trips of {PARTIAL_STEPS} roads "
        f"(bar: {BARS['incremental']:.0f}x; logits differ by {difference:.0e})",
        ["", "ms", "ratio"],
        [
            ["encoding all positions again", f"{timings['again'].median * 1e3:.1f}", ""],
            ["incremental step", f"{timings['step'].median * 1e3:.1f}", f"{ratio:.1f}x"],
            ["forgetting dropped trips", f"{freeing * 1e3:.1f}", ""],
        ],
    )
    return {
        "seconds": {name: timing.median for name, timing in timings.items()},
        "keep_seconds": freeing,
        "ratio": ratio,
        "bar": BARS["incremental"],
        "logit_difference": difference,
    }


# Compiled steps on a GPU

_TRIP_LENGTH = 128
_PEAK_FLOPS = {"H200": 790e12, "H100": 790e12, "A100": 280e12}  # dense bf16, as reached by matmul
_PEAK_BYTES = {"H200": 4.3e12, "H100": 3.0e12, "A100": 1.8e12}


def _gpu(config: Config, network: RoadNetwork, trips: TripDataset) -> dict[str, Any]:
    device = torch.device("cuda:0")
    batches = [
        trips.batch(rows, device)
        for rows in np.array_split(np.arange(min(len(trips), 8 * BATCH_SIZE)), 8)
    ]
    seconds = {}
    for name, compiled in (("eager", False), ("compiled", True)):
        model = HOSER(config, network).to(device)
        step = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
        seconds[name] = _gpu_phases(step, optimizer, batches, mark=compiled)
    flops, moved = least_work(model, batches[:1])
    kind = next((k for k in _PEAK_FLOPS if k in torch.cuda.get_device_name(0)), None)
    floor = max(flops / _PEAK_FLOPS[kind], moved / _PEAK_BYTES[kind]) if kind else float("nan")
    print_table(
        f"bfloat16 steps on {torch.cuda.get_device_name(0)}: {network.num_roads} roads, "
        f"{BATCH_SIZE} trips (operations and bytes alone: {floor * 1e3:.2f} ms)",
        ["", *PHASES, "to the floor"],
        [
            [name, *(f"{phases[p] * 1e3:.2f} ms" for p in PHASES), f"{phases['step'] / floor:.1f}x"]
            for name, phases in seconds.items()
        ],
    )
    return {"seconds": seconds, "floor_seconds": floor, "flops": flops, "bytes": moved}


def _gpu_phases(
    step: Callable[..., Any], optimizer: torch.optim.Optimizer, batches: list[Batch], mark: bool
) -> dict[str, float]:
    times = []
    for number in range(5 * len(batches)):
        batch = batches[number % len(batches)]
        events = [torch.cuda.Event(enable_timing=True) for _ in range(4)]
        events[0].record()
        with torch.autocast("cuda", torch.bfloat16):
            logits, time_pred = step(mark_dynamic(batch) if mark else batch)
        losses = supervised_losses(logits, time_pred, batch)
        events[1].record()
        (losses.next_road + losses.travel_time).backward()
        events[2].record()
        optimizer.step()
        optimizer.zero_grad()
        events[3].record()
        torch.cuda.synchronize()
        parts = [first.elapsed_time(second) / 1e3 for first, second in pairwise(events)]
        times.append([*parts, sum(parts)])
    return dict(zip(PHASES, np.median(np.array(times[2 * len(batches) :]), axis=0).tolist()))


def least_work(model: HOSER, batches: Sequence[Batch]) -> tuple[float, float]:
    """What a step of these batches cannot do without: floating-point operations of the real
    positions and, once, of the roads, and bytes that must move."""
    blocks = sum(p.numel() for b in model.trajectory_encoder.blocks for p in b.parameters())
    positions = sum(int(batch.trace_len.sum()) for batch in batches)
    roads = model.road_network_encoder.num_roads
    width = model.road_network_encoder.width
    pairs = sum(int((batch.trace_len**2).sum()) for batch in batches) / 2
    of_roads = roads * (2 * 2 + 2 + 2) * width * width
    of_pairs = (
        pairs * 2 * 2 * model.trajectory_encoder.hidden_dim * len(model.trajectory_encoder.blocks)
    )
    flops = 3 * 2 * (positions * blocks + of_roads + of_pairs)
    edges = model.road_network_encoder.road_graph.in_source.shape[0]
    parameters = sum(p.numel() for p in model.parameters())
    moved = 28 * parameters + 2 * 3 * width * (2 * edges + 8 * roads)
    return float(flops), float(moved)


if __name__ == "__main__":
    main()
