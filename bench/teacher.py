"""What the teacher costs: distilled steps, building its cache, memory.

python -m bench.teacher [--quick]
"""

from __future__ import annotations

import ctypes
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench._common import parser, print_table, save, timed_alternately
from bench.peak import status_mib
from config import Config, load_config
from critics.distill_hook import DistillationManager, DistillTargets
from critics.lmtad import LMTAD, LMTADConfig
from critics.lmtad_teacher import LMTADTeacher
from critics.road_teacher import LMTADRoadTeacher
from critics.weights import TeacherWeights
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from data.sampling import bucketed_batches
from dataset import Batch, TripDataset
from hoser import HOSER
from runtime.distributed import Processes
from runtime.precision import Precision
from training.accumulation import AccumulationStep
from training.compilation import StudentCalls
from training.optimization import Optimization
from training.profiling import StepProfiler

BEIJING = LMTADConfig(vocab_size=51_663, block_size=512, n_layer=8, n_head=12, n_embd=768)
BEIJING_TRIPS = 629_380
STEPS_PER_TIMING = 10
BARS = {"cache": 1.10, "live, full history": 2.0}


def main() -> None:
    """Runs all parts and prints them beside their bars."""
    options = parser(__doc__ or "").parse_args()
    device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    roads, trips = (1500, 2000) if options.quick else (5000, 8000)
    with tempfile.TemporaryDirectory() as scratch:
        city = make_demo_city(Path(scratch) / "city", roads, trips, progress=False)
        ensure_zones(city, 60)
        network = RoadNetwork.load(city)
        train = TripDataset.load(city, "train", network, max_len=256)
        results = {
            "steps": _steps(network, train, Path(scratch), device, options.quick),
            "cache_building": cache_building(network, train, device, options.quick),
            "memory": _memory(),
        }
    if not options.no_save:
        save("teacher", results)


def _random_weights(config: LMTADConfig, **dataset_config: Any) -> TeacherWeights:
    torch.manual_seed(0)
    state = LMTAD(config).state_dict()
    return TeacherWeights(state, config.to_dict(), dataset_config)


# A training step, vanilla and distilled


def _steps(
    network: RoadNetwork, train: TripDataset, scratch: Path, device: torch.device, quick: bool
) -> dict[str, Any]:
    config = load_config(
        Path(__file__).parent.parent / "config" / "demo.yaml",
        {"distill.cache": True, "distill.cache_dir": str(scratch / "cache")},
    )
    teacher = _demo_teacher(network, device, "full")
    batches = bucketed_batches(train.trace_lengths, config.optimizer_config.batch_size, 0, 0)
    runs: dict[str, Callable[[], None]] = {}
    managers = {
        "vanilla": None,
        "cache": DistillationManager(config, network, device, teacher),
        "live, full history": _live(config, network, teacher),
        "live, window 4": _live(config, network, _demo_teacher(network, device, 4)),
        "plain: window 4, whole vocabulary": _PlainTeacher(
            _live(config, network, _demo_teacher(network, device, 4))
        ),
        "plain, last position only": _PlainTeacher(
            _live(config, network, _demo_teacher(network, device, 4), positions="last")
        ),
    }
    managers["cache"].attach(train, progress=False)  # type: ignore[union-attr]
    for name, manager in managers.items():
        runs[name] = _step_runner(config, network, train, batches, manager, device)  # type: ignore[arg-type]
    timings = timed_alternately(runs, repeats=2 if quick else 5)
    vanilla = timings["vanilla"].median
    results: dict[str, Any] = {}
    for name, timing in timings.items():
        results[name] = {
            "ms_per_step": 1000 * timing.median / STEPS_PER_TIMING,
            "steps_per_second": STEPS_PER_TIMING / timing.median,
            "ratio_to_vanilla": timing.median / vanilla,
            "spread": timing.spread,
        }
    print_table(
        f"A training step of {config.optimizer_config.batch_size} trips on {network.num_roads} "
        "roads, all positions distilled unless said otherwise",
        ["", "ms", "steps/s", "ratio", "bar"],
        [
            [
                name,
                f"{value['ms_per_step']:.1f}",
                f"{value['steps_per_second']:.1f}",
                f"{value['ratio_to_vanilla']:.2f}",
                BARS.get(name, ""),
            ]
            for name, value in results.items()
        ],
    )
    return results


def _demo_teacher(network: RoadNetwork, device: torch.device, window: Any) -> LMTADRoadTeacher:
    """As large as the demo's; its weights' values do not matter here."""
    size = LMTADConfig(network.num_roads + 3, block_size=128, n_layer=2, n_head=4, n_embd=128)
    weights = _random_weights(size, vocabulary="road", destination_prefix=True)
    tokens = np.arange(network.num_roads)
    return LMTADRoadTeacher(LMTADTeacher(weights, device), tokens, network, window)


def _live(
    config: Config, network: RoadNetwork, teacher: LMTADRoadTeacher, **changes: Any
) -> DistillationManager:
    distill = config.distill.model_copy(update={"cache": False, **changes})
    own = config.model_copy(update={"distill": distill})
    return DistillationManager(own, network, teacher.device, teacher)


class _PlainTeacher:
    """The documents' way: a window for each position, the softmax over the whole vocabulary."""

    def __init__(self, manager: DistillationManager) -> None:
        self.manager = manager
        self.settings = manager.settings
        teacher = manager.teacher
        assert isinstance(teacher, LMTADRoadTeacher)
        self.teacher = teacher

    def targets(self, batch: Batch, *, step: int = 0, split: str = "train") -> DistillTargets:
        mask = self.manager._choose(batch, self.settings.positions, step)
        row, place = mask.nonzero(as_tuple=True)
        tokens = self.teacher.road_to_token[batch.trace_road_id]
        window = self.teacher.window
        assert isinstance(window, int)
        back = place.unsqueeze(1) - torch.arange(window - 1, -1, -1, device=place.device)
        history = tokens[row.unsqueeze(1), back.clamp(min=0)]
        sot = torch.full_like(row, self.teacher.teacher.sot_id).unsqueeze(1)
        destination = self.teacher.road_to_token[batch.destination_road_id][row].unsqueeze(1)
        with torch.no_grad():
            sequences = torch.cat([sot, destination, history], dim=1)
            full = self.teacher.teacher.model(sequences)[:, -1]
            probability = torch.softmax(full.float(), dim=-1)
        candidates = self.teacher.road_to_token[batch.candidate_road_id][row, place]
        logits = torch.full(batch.candidate_road_id.shape, -torch.inf, device=mask.device)
        logits[row, place] = probability.gather(1, candidates).log()
        nothing = torch.zeros((), dtype=torch.long, device=mask.device)
        return DistillTargets(logits, mask, mask.sum(), nothing)

    def compute_kl_for_batch(self, batch: Batch, logits: Tensor, **options: Any) -> Any:
        return self.manager.compute_kl_for_batch(batch, logits, **options)


def _step_runner(
    config: Config,
    network: RoadNetwork,
    train: TripDataset,
    batches: list[np.ndarray],
    manager: DistillationManager | None,
    device: torch.device,
) -> Callable[[], None]:
    torch.manual_seed(0)
    model = HOSER(config, network).to(device)
    precision = Precision.choose(config.training.amp_dtype, device)
    step = AccumulationStep(
        model=model,
        calls=StudentCalls(model, model.encode_roads),
        optimization=Optimization(model, config.optimizer_config, precision, 1000),
        precision=precision,
        processes=Processes(),
        profiler=StepProfiler(False, 1, device),
        teacher=manager,
    )

    def run() -> None:
        for index in range(STEPS_PER_TIMING):
            batch = train.batch(batches[index], device)
            step.run([batch], 1 + index, lambda: False)

    return run


# Building the cache at Beijing's size


def cache_building(
    network: RoadNetwork, train: TripDataset, device: torch.device, quick: bool
) -> dict[str, Any]:
    """How fast the answers of a teacher of Beijing's size are made, by history."""
    weights = _random_weights(BEIJING, grip_size=[205, 252])
    tokens = np.random.default_rng(0).integers(0, 205 * 252, network.num_roads)
    on_gpu = device.type == "cuda"
    num_trips = (2000 if on_gpu else 16) if quick else (6000 if on_gpu else 48)
    trips = np.arange(num_trips)
    positions = int(train.trace_lengths[:num_trips].sum())
    results: dict[str, Any] = {}
    rows = []
    for name, window in (("full history", "full"), ("window 4", 4)):
        teacher = LMTADRoadTeacher(LMTADTeacher(weights, device), tokens, network, window)  # type: ignore[arg-type]
        teacher.trip_logits(train, trips[:4])
        start = time.perf_counter()
        values = teacher.trip_logits(train, trips)  # ends on the CPU: nothing is left running
        seconds = time.perf_counter() - start
        rate = positions / seconds
        hours = BEIJING_TRIPS * positions / num_trips / rate / 3600
        results[name] = {
            "positions_per_second": rate,
            "hours_for_629380_trips": hours,
            "positions_per_trip": positions / num_trips,
            "bytes_per_position": 2 * len(values) / positions,
            "dtype": str(teacher.teacher.dtype),
        }
        rows.append([name, f"{rate:,.0f}", f"{hours:.1f}", f"{2 * len(values) / positions:.1f}"])
    print_table(
        f"Cache building at Beijing's size on {device} ({num_trips} trips of "
        f"{positions / num_trips:.0f} positions)",
        ["", "positions/s", "hours for 629,380 trips", "bytes a position"],
        rows,
    )
    return results


# Memory


def _memory() -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    results = {}
    for places in (5_000, 50_000, 500_000):
        with context.Pool(1) as pool:
            results[f"{places} tokens"] = pool.apply(_inference_memory, (places,))
    print_table(
        "Memory that a batch's teacher inference adds (512 trips of 32 roads, 4 candidates)",
        ["vocabulary", "MiB"],
        [[name, f"{value:.1f}"] for name, value in results.items()],
    )
    return {"inference_mib": results}


def _inference_memory(num_places: int) -> float:
    """MiB that inference adds at its peak to what the loaded teacher takes."""
    torch.set_num_threads(1)
    config = LMTADConfig(num_places + 3, block_size=64, n_layer=2, n_head=4, n_embd=128)
    teacher = LMTADTeacher(_random_weights(config))
    trace = torch.randint(0, num_places, (512, 32))
    candidates = torch.randint(0, num_places, (512, 32, 4))
    length, count = torch.full((512,), 32), torch.full((512, 32), 4)
    teacher.candidate_logits(trace[:1], length[:1], candidates[:1], count[:1])
    ctypes.CDLL(None).malloc_trim(0)  # what building the model freed must not hide what follows
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = status_mib("VmRSS")
    teacher.candidate_logits(trace, length, candidates, count)
    return status_mib("VmHWM") - before


if __name__ == "__main__":
    main()
