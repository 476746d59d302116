"""Training an LM-TAD on a dataset's own trips, so that nobody depends on a foreign checkpoint.

Writes the weights-only file of `critics.weights`. Distillation itself is elsewhere; so is the
measurement of what came out (`critics.teacher_report`).
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from critics.grid_mapper import GridMapper, bounds_to_dict
from critics.lmtad import LMTAD, NUM_SPECIAL_TOKENS, LMTADConfig
from critics.teacher_examples import ExampleMaker, Examples
from critics.teacher_runs import RunState, load_run, run_path, save_run
from critics.token_geometry import token_geometry
from critics.weights import TeacherWeights, Vocabulary, save_weights
from data.loading import Prefetcher
from data.road_network import Bounds, RoadNetwork
from data.sampling import evaluation_batches, training_batches
from dataset import TripDataset
from runtime.errors import UserError
from runtime.files import FolderLock
from runtime.logs import get_logger
from runtime.memory import out_of_memory_advice

logger = get_logger("train_lmtad")
TeacherLoss = Literal["candidates", "vocabulary"]
HEAD_ELEMENTS = 1 << 25  # logits over the vocabulary that are in memory at once
MAX_BLOCK_SIZE = 512
MEMORY_ADVICE = "lower --batch_size, --block_size, --n_embd or --n_layer of the teacher."


@dataclass(frozen=True)
class TeacherOptions:
    """What the teacher is and how it is trained.

    `loss` is what the head is trained on: the whole vocabulary, as published, or only the tokens
    of the roads that can come next, which is all that distillation asks about. By default the
    former for grid cells and the latter for roads.
    """

    output: Path
    vocabulary: Vocabulary = "road"
    destination_prefix: bool = True
    grid_size: float = 0.001
    downsample: int = 1
    bounds: Bounds | None = None
    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 128
    block_size: int | None = None  # by default what the longest trip needs, at most 512
    dropout: float = 0.1
    bias: bool = False
    loss: TeacherLoss | None = None
    geometry: float = 0.15  # how much of the initial embeddings is the places' geometry
    random_start: float = 0.0  # share of trips read from a random road on, as windows are
    epochs: int = 10
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_ratio: float = 0.05
    max_norm: float = 1.0
    amp: Literal["auto", "off"] = "auto"
    seed: int = 0
    device: str = "cpu"
    max_trips: int | None = None
    checkpoint_minutes: float = 5.0
    progress: bool = field(default=True, compare=False)

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "learning_rate", "grid_size", "downsample")
        for name in positive:
            if not getattr(self, name) > 0:
                raise UserError(f"--{name} is {getattr(self, name)}; it must be above 0.")
        if not 0.0 <= self.geometry < float("inf"):
            raise UserError(f"--geometry is {self.geometry}; it must be at least 0.")
        if not 0.0 <= self.random_start <= 1.0:
            raise UserError(f"--random_start is {self.random_start}; it must be in 0..1.")

    @property
    def trained_loss(self) -> TeacherLoss:
        """`loss`, or the vocabulary's default."""
        return self.loss or ("vocabulary" if self.vocabulary == "grid" else "candidates")

    def identity(self) -> dict[str, Any]:
        """What a resumed run must agree on."""
        free = ("output", "progress", "device", "checkpoint_minutes")
        values = {name: value for name, value in asdict(self).items() if name not in free}
        return {name: value for name, value in values.items() if value is not None}


def refuse_finished(output: Path) -> None:
    """Raises where there is a teacher already, unless a killed run has still to tidy up."""
    if output.exists() and not run_path(output).exists():
        raise UserError(f"{output} exists already; delete it or choose another --output.")


def train_teacher(
    options: TeacherOptions, network: RoadNetwork, train: TripDataset, val: TripDataset
) -> Path:
    """Trains, resuming what a killed run left, and writes the weights of the best epoch."""
    refuse_finished(options.output)
    unfinished = run_path(options.output)
    lock = FolderLock(unfinished.parent, name=f"{unfinished.name}.lock", guards=options.output)
    with lock, out_of_memory_advice(MEMORY_ADVICE):
        run = _Training(options, network, train, val)
        run.resume()
        if options.output.exists() and run.step < run.total_steps:
            raise UserError(
                f"{options.output} exists already, beside the unfinished training {unfinished}; "
                "delete one of them or choose another --output."
            )
        run.run()  # nothing, where a run was killed just before its end
        save_weights(options.output, run.weights())
        unfinished.unlink(missing_ok=True)
    logger.info("Wrote the teacher %s.", options.output)
    return options.output


class _Training:
    """One run: model, optimizer and where in the epochs it is."""

    def __init__(
        self,
        options: TeacherOptions,
        network: RoadNetwork,
        train: TripDataset,
        val: TripDataset,
    ) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.train, self.val = train, val
        self.num_trips = min(len(train), options.max_trips or len(train))
        tokens, self.dataset_config = _vocabulary(options, network)
        prefix = 2 if options.destination_prefix else 1
        longest = int(train.num_roads_of_trip.max(initial=1))
        block = options.block_size or min(MAX_BLOCK_SIZE, longest + prefix)
        vocab_size = int(self.dataset_config["num_places"]) + NUM_SPECIAL_TOKENS
        self.config = LMTADConfig(
            vocab_size,
            block,
            options.n_layer,
            options.n_head,
            options.n_embd,
            options.dropout,
            options.bias,
            pad_token=vocab_size - NUM_SPECIAL_TOKENS,
        )
        torch.manual_seed(options.seed)
        self.model = LMTAD(self.config)
        if options.geometry > 0:
            places = vocab_size - NUM_SPECIAL_TOKENS
            start = token_geometry(network, tokens, places, options.n_embd, options.seed)
            with torch.no_grad():
                self.model.lm_head.weight[:places] += options.geometry * start
        self.model.to(self.device)
        self.examples = ExampleMaker(
            self.config,
            network,
            tokens,
            options.destination_prefix,
            options.random_start,
            options.seed,
            self.device,
        )
        self.optimizer = _optimizer(self.model, options, self.device)
        self.batches_per_epoch = -(-self.num_trips // options.batch_size)
        self.total_steps = options.epochs * self.batches_per_epoch
        self.amp_dtype = _amp_dtype(options, self.device)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.amp_dtype == torch.float16
        )
        self.step = 0
        self.best_loss = math.inf
        self.best_state = _copy(self.model)
        self.identity = {
            **options.identity(),
            "trips": train.content_hash,
            "network": network.content_hash,
        }

    def resume(self) -> None:
        """Takes up what an earlier run of the same options left."""
        state = load_run(run_path(self.options.output), self.identity)
        if state is None:
            return
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.scaler.load_state_dict(state.scaler)
        self.step, self.best_loss, self.best_state = state.step, state.best_loss, state.best_state
        state.restore_random(self.device)
        logger.info("Resuming the teacher's training at step %d.", self.step)

    def run(self) -> None:
        """All epochs that are left."""
        saved = time.monotonic()
        bar = tqdm(
            total=self.total_steps,
            initial=self.step,
            desc="Teacher",
            unit="step",
            disable=not self.options.progress,
        )
        lengths = self.train.num_roads_of_trip[: self.num_trips]
        workers = 2 if self.device.type == "cuda" else 0
        with bar, Prefetcher(self._prepare, workers, 4) as prefetch:
            while self.step < self.total_steps:
                epoch, done = divmod(self.step, self.batches_per_epoch)
                seed, size = self.options.seed, self.options.batch_size
                batches = training_batches(lengths, size, seed, epoch)
                for examples in prefetch([(rows, epoch) for rows in batches[done:]]):
                    loss = self._step(examples)
                    bar.update()
                    if self.step % 20 == 0:
                        bar.set_postfix(loss=f"{loss.item():.3f}")
                    if time.monotonic() - saved > 60 * self.options.checkpoint_minutes:
                        self._save()
                        saved = time.monotonic()
                self._validate(epoch)
                self._save()

    def _prepare(self, spec: tuple[np.ndarray, int]) -> Examples:
        rows, epoch = spec
        return self.examples(self.train, rows, epoch)

    def _step(self, examples: Examples) -> Tensor:
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        total, count, _ = self._loss(examples)
        loss = total / count.clamp(min=1)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return loss.detach()

    def _learning_rate(self) -> float:
        warmup = max(1, round(self.options.warmup_ratio * self.total_steps))
        if self.step < warmup:
            return self.options.learning_rate * (self.step + 1) / warmup
        progress = (self.step - warmup) / max(1, self.total_steps - warmup)
        return self.options.learning_rate * (0.1 + 0.45 * (1.0 + math.cos(math.pi * progress)))

    def _loss(self, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of the negative log-likelihood, number of predictions, number of right ones."""
        enabled = self.amp_dtype is not None
        with torch.autocast(self.device.type, self.amp_dtype, enabled=enabled):
            hidden = self.model.hidden(examples.tokens)  # [B, L, E]
        if self.options.trained_loss == "candidates":
            return self._candidate_loss(hidden, examples)
        return self._vocabulary_loss(hidden, examples)

    def _candidate_loss(self, hidden: Tensor, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        row, place = examples.choice_row, examples.choice_place
        states = hidden[row, place].float()  # [Q, E]
        flat = self.model.token_logits(states[examples.owner], examples.candidate_token)
        logits = flat.new_full(examples.candidate_shape, -torch.inf)
        logits = logits.index_put((examples.owner, examples.candidate_place), flat)
        nll = F.cross_entropy(logits, examples.label, reduction="sum")
        right = (logits.detach().argmax(-1) == examples.label).sum()
        return nll, torch.tensor(len(row), device=self.device), right

    def _vocabulary_loss(self, hidden: Tensor, examples: Examples) -> tuple[Tensor, Tensor, Tensor]:
        wanted = examples.targets >= 0
        states, targets = hidden[wanted], examples.targets[wanted]  # [P, E], [P]
        total = states.new_zeros((), dtype=torch.float32)
        right = torch.zeros((), dtype=torch.long, device=self.device)
        size = max(1, HEAD_ELEMENTS // self.config.vocab_size)
        for first in range(0, len(targets), size):
            part, target = states[first : first + size], targets[first : first + size]
            # Recomputed in the backward pass: only one part's logits exist at a time.
            nll, hits = torch.utils.checkpoint.checkpoint(
                self._head_part, part, target, use_reentrant=False
            )
            total, right = total + nll, right + hits
        return total, torch.tensor(len(targets), device=self.device), right

    def _head_part(self, states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        enabled = self.amp_dtype is not None
        with torch.autocast(self.device.type, self.amp_dtype, enabled=enabled):
            logits = self.model.lm_head(states)
        nll = F.cross_entropy(logits.float(), targets, reduction="sum")
        return nll, (logits.detach().argmax(-1) == targets).sum()

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        self.model.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        for rows in evaluation_batches(self.val.num_roads_of_trip, self.options.batch_size):
            parts = self._loss(self.examples(self.val, rows, None))
            sums += torch.stack([part.double().cpu() for part in parts])
        total, count, right = sums.tolist()
        loss = total / max(count, 1.0)
        logger.info(
            "Teacher epoch %d of %d: validation perplexity %.3f, accuracy %.4f (%s).",
            epoch + 1,
            self.options.epochs,
            math.exp(min(loss, 700.0)),
            right / max(count, 1.0),
            "among the candidates"
            if self.options.trained_loss == "candidates"
            else "of the next token",
        )
        if loss < self.best_loss:
            self.best_loss, self.best_state = loss, _copy(self.model)

    def _save(self) -> None:
        state = RunState.capture(
            self.device,
            step=self.step,
            best_loss=self.best_loss,
            best_state=self.best_state,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
        )
        save_run(run_path(self.options.output), self.identity, state)

    def weights(self) -> TeacherWeights:
        """The best epoch's weights with what is needed to use them."""
        return TeacherWeights(self.best_state, self.config.to_dict(), self.dataset_config)


def _vocabulary(options: TeacherOptions, network: RoadNetwork) -> tuple[np.ndarray, dict[str, Any]]:
    """The token of each road, and the dataset_config that tells a loader about it."""
    common: dict[str, Any] = {
        "vocabulary": options.vocabulary,
        "destination_prefix": options.destination_prefix,
    }
    if options.vocabulary == "road":
        roads = {"num_roads": network.num_roads, "network": network.content_hash}
        places = {"num_places": network.num_roads}
        return np.arange(network.num_roads, dtype=np.int64), {**common, **roads, **places}
    mapper = GridMapper(network, options.grid_size, options.downsample, options.bounds)
    grid = {
        "grip_size": list(mapper.grid_dims),
        "grid_size": options.grid_size,
        "downsample": options.downsample,
        "num_places": mapper.num_tokens,
        **bounds_to_dict(mapper.grid.bounds),
    }
    return mapper.road_to_token, {**common, **grid}


def _optimizer(model: LMTAD, options: TeacherOptions, device: torch.device) -> torch.optim.AdamW:
    """Weight decay for matrices, none for vectors."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.95), fused=True)


def _amp_dtype(options: TeacherOptions, device: torch.device) -> torch.dtype | None:
    if options.amp == "off" or device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(False) else torch.float16


def _copy(model: LMTAD) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
