"""What an accelerator computes, without one: its code paths on a CPU, and its device rules.

The device rules are those of `pretended_gpu`; what needs a real GPU is in `tests/cuda`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from config.generation import SearchName, SearchSettings
from critics.cache_builder import open_or_build
from critics.replay.policies import LMTADPolicy, Policy, StudentPolicy
from critics.replay.times import predict_times
from critics.scoring.judges import StudentJudge, TeacherJudge
from critics.scoring.running import Reader, StudentReader, TeacherReader
from critics.scoring.trips import as_trips
from critics.teacher_training.options import TeacherOptions
from critics.teacher_training.run import TeacherRun
from search.engine import SearchEngine
from search.graph import SearchGraph
from search.scorer import Scorer
from search.searches import build_search
from search.trips import GeneratedTrip, TripRequests
from tests.accelerator_helpers import (
    CPU,
    Lesson,
    assert_close,
    parameters_of,
    take_accelerator_paths,
)
from tests.pretended_gpu import DEVICE, OnGPU, PretendedGPU
from tests.student_helpers import losses_of
from times.records import drive_real_trips
from training.calibration import calibrate
from training.compilation import RECOMPILE_LIMIT, compile_student
from training.validation import validate

SEARCHES: list[SearchName] = ["beam", "sample", "astar", "shortest_path"]


@pytest.fixture
def on_cpu(tiny_city: Path, tmp_path: Path) -> Lesson:
    return Lesson.on(tiny_city, tmp_path, CPU)


@pytest.fixture
def on_gpu(tiny_city: Path, tmp_path: Path) -> Lesson:
    return Lesson.on(tiny_city, tmp_path, DEVICE)


def test_training_steps_as_an_accelerator_takes_them(
    on_cpu: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, compiled = on_cpu.student(), on_cpu.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 3)
    take_accelerator_paths(monkeypatch)
    compile_with = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, mode: compile_with(f, backend="eager"))
    monkeypatch.setattr("training.compilation.shutil.which", lambda _: "/usr/bin/c++")
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    settings = on_cpu.config.training.model_copy(update={"torch_compile": True})
    step = on_cpu.step(compiled, compile_student(compiled, settings, CPU))
    found = on_cpu.train_steps(step, 3)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-4, abs=1e-5)
        assert ours.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3)
    assert_close(parameters_of(compiled), parameters_of(plain), 2e-4)
    # The student for any shape, and the road encoder; a single candidate has a program of its own.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4 < RECOMPILE_LIMIT


def test_graphs_see_few_shapes_and_the_same_positions(on_cpu: Lesson) -> None:
    plan = on_cpu.plan()
    specs = [spec for group in plan.groups(0) for spec in group]
    shapes = set()
    for spec in specs:
        plan.few_shapes = False
        rows = plan.gather(spec)
        plan.few_shapes = True
        padded = plan.gather(spec)
        assert rows is not None and padded is not None
        plain, wide = (on_cpu.train.features(part, CPU) for part in (rows, padded))
        shapes.add(wide.candidate_road_id.shape[1:])
        model = on_cpu.student()
        losses = [losses_of(model, batch) for batch in (plain, wide)]
        for name in ("next_road_sum", "travel_time_sum", "num_positions"):
            torch.testing.assert_close(getattr(losses[0], name), getattr(losses[1], name))
    assert len(shapes) <= 2


def test_gradients_may_have_memory_of_their_own(on_cpu: Lesson) -> None:
    """As under CUDA graphs, whose outputs are overwritten by the next replay."""
    plain, careful = on_cpu.student(), on_cpu.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 2)
    step = on_cpu.step(careful)
    object.__setattr__(step.calls, "reuses_memory", True)
    assert [r.values for r in on_cpu.train_steps(step, 2)] == [r.values for r in expected]
    assert_close(parameters_of(careful), parameters_of(plain), 1e-7)


def test_a_training_step_stays_on_the_device_and_waits_once(on_cpu: Lesson, on_gpu: Lesson) -> None:
    plain = on_cpu.student()
    expected = on_cpu.train_steps(on_cpu.step(plain), 3)
    with PretendedGPU() as gpu:
        model = on_gpu.student()
        step = on_gpu.step(model)
        gpu.waits.clear()
        found = on_gpu.train_steps(step, 3)
        # The gradient norm and the sums of the whole group. (Clipping groups gradients by the
        # device that C++ sees, which here is the CPU: a copy that a GPU does not make.)
        assert Counter(gpu.waits) == {
            "aten._local_scalar_dense.default": 3,
            "tolist": 3,
            "copy to the CPU": 3,
        }
        weights = parameters_of(model)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.values == pytest.approx(theirs.values, rel=1e-4, abs=1e-5)
    assert_close(weights, parameters_of(plain), 2e-4)


@pytest.mark.parametrize("positions", ["all", "last", 2])
def test_a_live_teacher_answers_on_the_device(
    tiny_city: Path, tmp_path: Path, positions: Any
) -> None:
    answers = []
    for device in (CPU, DEVICE):
        with PretendedGPU():
            lesson = Lesson.on(
                tiny_city, tmp_path, device,
                distill__cache=False, distill__positions=positions, distill__embedding_weight=0.3,
                distill__zone_weight=0.2, distill__ties="marginal", distill__loss="jensen_shannon",
            )  # fmt: skip
            batch = lesson.train.batch(range(6), device)
            manager = lesson.manager(cached=False)
            manager.attach(lesson.train)
            outputs = lesson.student()(batch, with_hidden=True)
            taught = manager.compute_kl_for_batch(
                batch, outputs[0], step=3, student_embedding=outputs[2]
            )
            answers.append([term.sum.item() for term in taught.terms.values()])
    assert answers[0] == pytest.approx(answers[1], rel=1e-4)


def test_caches_and_drives_are_the_same(on_cpu: Lesson, on_gpu: Lesson, tmp_path: Path) -> None:
    def everything(lesson: Lesson, folder: Path) -> dict[str, torch.Tensor]:
        cache = open_or_build(folder, lesson.train, lesson.teacher(), progress=False)
        batch = lesson.train.batch(range(9), lesson.device)
        student = lesson.student()
        statistics = (lesson.train.time_mean, lesson.train.time_std)
        features = lesson.train.tables(lesson.device)
        knows = lesson.teacher(destination_prefix=True)
        drivers: dict[str, Policy] = {
            "teacher": LMTADPolicy(knows),
            "uncached": LMTADPolicy(knows, cached=False),
            "student": StudentPolicy(student, features, statistics),
        }
        found = {"cache": cache.lookup(batch).cpu()}
        for name, policy in drivers.items():
            drives = lesson.drives(policy)
            found[f"{name} roads"] = torch.from_numpy(drives.road_ids)
            found[f"{name} values"] = torch.from_numpy(drives.values)
        driven = lesson.replayed.dataset(lesson.train)
        predict_times(student, driven, np.arange(len(driven)), 16)
        return {**found, "times": torch.from_numpy(driven.seconds)}

    expected = everything(on_cpu, tmp_path / "cpu")
    with PretendedGPU():
        found = everything(on_gpu, tmp_path / "gpu")
    assert_close(found, expected, 2e-3)  # the cache holds float16


@pytest.mark.parametrize("name", SEARCHES)
def test_searches_find_the_same_trips(
    on_cpu: Lesson, on_gpu: Lesson, name: SearchName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.scorer.ROWS_A_BLOCK_GPU", 32)

    def generate(lesson: Lesson) -> list[GeneratedTrip]:
        graph, trips = SearchGraph.of(lesson.network), lesson.train
        features = trips.tables(lesson.device)
        model = lesson.student().eval()
        scorer = Scorer(model, features, graph, trips.time_mean, trips.time_std)
        ends = np.stack([trips.road_ids[trips.offsets[:-1]], trips.road_ids[trips.offsets[1:] - 1]])
        pairs = ends[:, :5].astype(np.int64)
        block = TripRequests(0, pairs[0], pairs[1], np.asarray(trips.starts[:5]))
        search = build_search(SearchSettings(name, max_steps=20), graph, 4, seed=3)
        return list(SearchEngine(search, scorer).run([block]))

    def plain(trips: list[GeneratedTrip]) -> list[tuple[list[int], bool]]:
        return [(trip.road_ids.tolist(), trip.reached) for trip in trips]

    expected = plain(generate(on_cpu))
    with PretendedGPU():
        assert plain(generate(on_gpu)) == expected
    take_accelerator_paths(monkeypatch)
    assert plain(generate(on_cpu)) == expected


def test_measures_of_a_student_are_the_same(on_cpu: Lesson, on_gpu: Lesson) -> None:
    def measure(lesson: Lesson) -> list[float]:
        model = lesson.student()
        manager = lesson.manager()
        result = validate(model, lesson.train, device=lesson.device, batch_size=16, teacher=manager)
        assert result is not None
        temperature = calibrate(model, lesson.train, lesson.device, 16)
        records = drive_real_trips(model, lesson.train, lesson.device)
        return [
            *[value for value in result.as_dict().values() if value is not None],
            temperature,
            float(records.seconds.sum()),
            float(records.conditions.expected.sum()),
        ]

    expected = measure(on_cpu)
    with PretendedGPU():
        assert measure(on_gpu) == pytest.approx(expected, rel=1e-3)


def test_scores_are_the_same(on_cpu: Lesson, on_gpu: Lesson) -> None:
    def scores(lesson: Lesson) -> list[float]:
        trips = as_trips(lesson.train)
        student, teacher = lesson.student().eval(), lesson.teacher()
        network = lesson.network
        judges = (
            StudentJudge("student", student, network, (2.0, 1.0)),
            TeacherJudge("teacher", teacher, network),
        )
        readers: tuple[Reader, ...] = (
            StudentReader(student, network),
            TeacherReader(teacher, network),
        )
        found = [float(judge.surprises(trips).route.sum()) for judge in judges]
        keys = np.arange(3)
        first = trips.offsets[:3]
        last = trips.offsets[1:4] - 1
        roads, times = trips.road_ids.astype(np.int64), trips.times
        for reader in readers:
            reader.begin(keys, roads[first], roads[last], times[first])
            found.append(float(reader.read(keys, roads[first + 1], times[first + 1]).sum()))
        return found

    expected = scores(on_cpu)
    with PretendedGPU():
        assert scores(on_gpu) == pytest.approx(expected, rel=1e-3)


def test_a_teacher_is_trained_on_the_device(on_cpu: Lesson, tmp_path: Path) -> None:
    def train(device: torch.device) -> list[float]:
        options = TeacherOptions(
            tmp_path / "teacher.pt", n_layer=1, n_head=2, n_embd=16, dropout=0.0, epochs=1,
            batch_size=16, amp="off", device=str(device), progress=False,
        )  # fmt: skip
        run = TeacherRun(options, on_cpu.network, on_cpu.train, on_cpu.train)
        rows = [np.arange(first, first + 16) for first in (0, 16)]
        losses = [float(run.take_step(run.examples(on_cpu.train, part, 0))) for part in rows]
        run._validate(0)
        return [*losses, run.best_loss]

    expected = train(CPU)
    with PretendedGPU():
        assert train(DEVICE) == pytest.approx(expected, rel=1e-4)


def test_the_pretended_gpu_is_strict() -> None:
    with PretendedGPU() as gpu:
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert isinstance(there, OnGPU) and there.device == DEVICE
        with pytest.raises(RuntimeError, match="cuda:0 and on cpu"):
            here + there
        with pytest.raises(TypeError, match="cannot be read as an array"):
            there.numpy()
        assert float(there.sum()) == 3 and len(gpu.waits) == 1
        assert type(there.cpu()) is torch.Tensor
