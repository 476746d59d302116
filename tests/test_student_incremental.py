"""Growing trips one road at a time gives what the full forward pass gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.batch import Batch
from hoser import HOSER
from models import incremental
from models.incremental import TripDecoder
from models.trip_tree import TripTree
from tests.student_helpers import ParityStudent, largest_difference


@pytest.fixture(scope="module")
def student(parity_dir: Path) -> ParityStudent:
    return ParityStudent.load(parity_dir)


def decode_batch(decoder: TripDecoder, batch: Batch) -> torch.Tensor:
    """Steps through all trips of a batch at once; finished trips leave. [B, T, 2 d]"""
    batch_size, steps = batch.trace_road_id.shape
    nodes = torch.full((batch_size,), -1)
    hidden = torch.zeros(batch_size, steps, decoder.encoder.hidden_dim)
    for t in range(steps):
        alive = (batch.trace_len > t).nonzero().squeeze(1)
        road_id, times = batch.trace_road_id[alive, t], batch.temporal_info[alive, t]
        nodes[alive], hidden[alive, t] = decoder.encode_step(nodes[alive], road_id, times)
    return hidden


@pytest.mark.parametrize("compiled", [True, False])
def test_every_position_equals_the_full_forward(
    student: ParityStudent, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not compiled:
        monkeypatch.setattr(incremental, "_is_compiled", lambda q: False)
    model, batch = student.model().eval(), student.batch(24, first=8)
    with torch.no_grad():
        logits, time_pred, hidden = model(batch, with_hidden=True)
    decoder = model.start()
    stepped = decode_batch(decoder, batch)
    real = batch.position_mask
    assert largest_difference(stepped[real], hidden[real]) < 1e-4
    destination = batch.destination_road_id.unsqueeze(1).expand_as(real)[real]
    scores = model.next_road_scores(
        stepped[real],
        decoder.tables,
        destination,
        batch.candidate_road_id[real],
        batch.metric_dis[real],
        batch.metric_angle[real],
    )
    candidates = batch.candidate_mask[real]
    assert largest_difference(scores[0][candidates], logits[real][candidates]) < 1e-4
    assert largest_difference(scores[1][candidates], time_pred[real][candidates]) < 1e-4


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_forked_reordered_and_dropped_trips_keep_their_own_past(data: st.DataObject) -> None:
    """A random search: every step continues random survivors, some twice, some new."""
    student = ParityStudent.load(Path(__file__).parent / "parity")
    model = student.model().eval()
    decoder = model.start()
    held: list[tuple[int, list[int], list[float]]] = []
    for _ in range(data.draw(st.integers(2, 7))):
        new = data.draw(st.integers(0 if held else 1, 2))
        chosen = data.draw(st.lists(st.integers(0, len(held) - 1), max_size=6)) if held else []
        parents = [held[i] for i in chosen] + [(-1, [], [])] * new
        if not parents:
            continue
        roads = [data.draw(st.integers(0, student.network.num_roads - 1)) for _ in parents]
        times = [0.3 + 0.001 * len(history) for _, history, _ in parents]
        nodes, hidden = decoder.encode_step(
            torch.tensor([node for node, _, _ in parents]), torch.tensor(roads), torch.tensor(times)
        )
        held = [
            (int(node), [*history, road], [*past, time])
            for node, (_, history, past), road, time in zip(
                nodes, parents, roads, times, strict=True
            )
        ]
        for row, (_, history, past) in enumerate(held):
            expected = last_hidden(model, history, past)
            assert largest_difference(hidden[row], expected) < 1e-4
        if data.draw(st.booleans()):
            decoder.keep(torch.tensor([node for node, _, _ in held]))
            assert decoder.num_nodes <= sum(len(history) for _, history, _ in held)


def last_hidden(model: HOSER, roads: list[int], times: list[float]) -> torch.Tensor:
    """The full forward pass over one trip."""
    road_id = torch.tensor([roads])
    centers = torch.from_numpy(model.road_centers)[road_id]
    chord = torch.cdist(centers, centers) * 6371008.8
    info = torch.tensor([times])
    minutes = (info.unsqueeze(2) - info.unsqueeze(1)).abs() * 1440
    with torch.no_grad():
        spatial = model.encode_roads().spatial[road_id]
        x = model.trajectory_encoder.embed(spatial, info)
        distance = chord.clamp(max=1000).float() / 1000
        return model.trajectory_encoder(x, distance, minutes.clamp(max=5) / 5)[0, -1]


def test_memory_is_used_again(student: ParityStudent) -> None:
    decoder = student.model().eval().start()
    nodes, _ = decoder.encode_step(None, torch.arange(100), torch.full((100,), 0.5))
    for _ in range(50):
        nodes, _ = decoder.encode_step(nodes, torch.arange(100), torch.full((100,), 0.5))
        survivors = nodes[::2].repeat_interleave(2)
        decoder.keep(survivors)
        nodes = survivors
    assert decoder.num_nodes <= 51 * 100
    assert len(decoder.tree.depth) <= 8192


def test_trips_longer_than_the_first_capacity(student: ParityStudent) -> None:
    model = student.model().eval()
    decoder = model.start()
    generator = torch.Generator().manual_seed(0)
    roads = torch.randint(0, 251, (150,), generator=generator)
    node = torch.tensor([-1])
    for t, road in enumerate(roads):
        info = torch.tensor([0.1 + 0.0005 * t])
        node, hidden = decoder.encode_step(node, road.view(1), info)
    times = [0.1 + 0.0005 * t for t in range(150)]
    expected = last_hidden(model, roads.tolist(), times)
    assert largest_difference(hidden[0], expected) < 1e-4


def test_an_empty_step(student: ParityStudent) -> None:
    decoder = student.model().eval().start()
    nothing = torch.zeros(0, dtype=torch.int64)
    nodes, hidden = decoder.encode_step(nothing, nothing, torch.zeros(0))
    assert nodes.shape == (0,) and hidden.shape == (0, 256)


def test_kept_nodes_stay_where_they_are() -> None:
    tree = TripTree(1, 1, 4, torch.zeros(5, 3, dtype=torch.float64))
    first = tree.add(torch.tensor([-1, -1]), torch.tensor([0, 1]), torch.zeros(2))
    second = tree.add(first, torch.tensor([2, 3]), torch.zeros(2))
    tree.keep(second[:1])
    assert tree.num_nodes == 2
    fresh = tree.add(torch.full((10,), -1), torch.zeros(10, dtype=torch.int64), torch.zeros(10))
    assert not set(fresh.tolist()) & {int(first[0]), int(second[0])}
    assert tree.path[second[0], :2].tolist() == [int(first[0]), int(second[0])]
