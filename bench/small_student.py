"""A city and a student trained for a few hundred steps, for benches that need one that has learned.

Made once per folder; training proper is `train_with_distill.py`.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from tqdm import tqdm

from config import Config
from data.demo_city import make_demo_city
from data.preprocess import ensure_zones
from data.road_network import RoadNetwork
from data.sampling import bucketed_batches
from dataset import TripDataset
from hoser import HOSER
from models.losses import supervised_losses

_STEPS = 800
_WARM_UP = 30
_BATCH_SIZE = 32
_LEARNING_RATE = 1e-3


def train_small_student(
    folder: Path, num_roads: int, num_trips: int, seed: int
) -> tuple[Path, Path]:
    """The folder of a demo city and the file of a student for it, made where missing."""
    make_demo_city(folder, num_roads, num_trips, seed)
    ensure_zones(folder)
    file = folder / "student.pth"
    if not file.exists():
        torch.save(_train(folder, seed).state_dict(), file)
    return folder, file


def _train(folder: Path, seed: int) -> HOSER:
    torch.manual_seed(seed)
    network = RoadNetwork.load(folder)
    trips = TripDataset.load(folder, "train", network)
    student = HOSER(Config(data_dir=str(folder)), network)
    optimizer = torch.optim.AdamW(student.parameters(), lr=_LEARNING_RATE, weight_decay=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate)
    batches = [
        rows
        for epoch in range(1 + _STEPS * _BATCH_SIZE // len(trips))
        for rows in bucketed_batches(trips.trace_lengths, _BATCH_SIZE, seed, epoch)
    ]
    for rows in tqdm(batches[:_STEPS], desc="Training a student", unit=" steps"):
        batch = trips.batch(rows)
        logits, time_pred = student(batch)
        losses = supervised_losses(logits, time_pred, batch)
        optimizer.zero_grad()
        (losses.next_road + losses.travel_time).backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
    return student


def _rate(step: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / _STEPS))
    return min(1.0, (step + 1) / _WARM_UP) * max(0.02, cosine)
