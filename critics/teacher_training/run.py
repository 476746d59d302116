"""One training of a teacher: model, optimizer, epochs, and the best epoch's weights in the end."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from critics.lmtad import LMTAD, NUM_SPECIAL_TOKENS, LMTADConfig
from critics.teacher_training.examples import ExampleMaker, Examples
from critics.teacher_training.geometry import token_geometry
from critics.teacher_training.objective import Objective
from critics.teacher_training.options import TeacherOptions
from critics.teacher_training.state import RunState, load_run, run_path, save_run
from critics.teacher_training.vocabulary import token_vocabulary
from critics.way_fitting import knowing_the_way
from critics.weights import TeacherWeights, save_weights
from data.loading import Prefetcher
from data.road_network import RoadNetwork
from data.sampling import bucketed_batches, evaluation_batches
from dataset import TripDataset
from runtime.errors import UserError
from runtime.files import FolderLock
from runtime.logs import get_logger
from runtime.memory import out_of_memory_advice
from runtime.precision import Precision
from runtime.random_state import random_state, restore_random_state
from runtime.shutdown import Stopped, stop_if_asked

logger = get_logger("train_lmtad")
MAX_BLOCK_SIZE = 512
STEPS_PER_SHOWN_LOSS = 20
MEMORY_ADVICE = "lower --batch_size, --block_size, --n_embd or --n_layer of the teacher."


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
        run = TeacherRun(options, network, train, val)
        run.resume()
        if options.output.exists() and run.step < run.total_steps:
            raise UserError(
                f"{options.output} exists already, beside the unfinished training {unfinished}; "
                "delete one of them or choose another --output."
            )
        run.execute()  # nothing, where a run was killed just before its end
        if not math.isfinite(run.best_loss):
            unfinished.unlink(missing_ok=True)  # or a lower rate would be refused beside it
            raise UserError(
                "The teacher learned nothing, its validation loss was never finite; lower "
                f"--learning_rate ({run.peak_learning_rate:g})."
            )
        weights = run.weights()
        if options.way:
            weights = knowing_the_way(weights, val, train, run.num_trips, options.device)
        save_weights(options.output, weights)
        unfinished.unlink(missing_ok=True)
    logger.info("Wrote the teacher %s.", options.output)
    return options.output


class TeacherRun:
    """Model, optimizer and where in the epochs the run is."""

    def __init__(
        self, options: TeacherOptions, network: RoadNetwork, train: TripDataset, val: TripDataset
    ) -> None:
        self.options = options
        self.device = torch.device(options.device)
        self.train, self.val = train, val
        self.num_trips = min(len(train), options.max_trips or len(train))
        tokens, self.dataset_config = token_vocabulary(options, network)
        self.config = self._model_config()
        self.model = self._build_model(network, tokens)
        self.examples = ExampleMaker(
            self.config,
            network,
            tokens,
            options.destination_prefix,
            options.random_start,
            options.seed,
            self.device,
        )
        precision = Precision.choose(options.amp, self.device)
        self.objective = Objective(options.trained_loss, precision)
        self.optimizer = _optimizer(self.model, options.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision.needs_scaling)
        self.batches_per_epoch = -(-self.num_trips // options.batch_size)
        self.total_steps = options.epochs * self.batches_per_epoch
        self.peak_learning_rate = options.peak_learning_rate(self.total_steps)
        self.step = 0
        self.best_loss = math.inf
        self.best_state = _copy(self.model)
        self.identity = {
            **options.identity(),
            "trips": train.content_hash,
            "network": network.content_hash,
        }

    def _model_config(self) -> LMTADConfig:
        options = self.options
        prefix = 2 if options.destination_prefix else 1
        longest = int(self.train.num_roads_of_trip.max(initial=1))
        vocab_size = int(self.dataset_config["num_places"]) + NUM_SPECIAL_TOKENS
        return LMTADConfig(
            vocab_size,
            options.block_size or min(MAX_BLOCK_SIZE, longest + prefix),
            options.n_layer,
            options.n_head,
            options.n_embd,
            options.dropout,
            options.bias,
            pad_token=vocab_size - NUM_SPECIAL_TOKENS,
        )

    def _build_model(self, network: RoadNetwork, tokens: NDArray[np.int64]) -> LMTAD:
        """Random weights, with a share of the places' geometry in the embeddings."""
        options = self.options
        torch.manual_seed(options.seed)
        model = LMTAD(self.config)
        if options.geometry > 0:
            places = self.config.vocab_size - NUM_SPECIAL_TOKENS
            start = token_geometry(network, tokens, places, options.n_embd, options.seed)
            with torch.no_grad():
                model.lm_head.weight[:places] += options.geometry * start
        return model.to(self.device)

    def resume(self) -> None:
        """Takes up what an earlier run of the same options left."""
        state = load_run(run_path(self.options.output), self.identity)
        if state is None:
            return
        self.model.load_state_dict(state.model)
        self.optimizer.load_state_dict(state.optimizer)
        self.scaler.load_state_dict(state.scaler)
        self.step, self.best_loss, self.best_state = state.step, state.best_loss, state.best_state
        restore_random_state(state.random)
        logger.info("Resuming the teacher's training at step %d.", self.step)

    def execute(self) -> None:
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
                batches = bucketed_batches(lengths, size, seed, epoch)
                for examples in prefetch([(rows, epoch) for rows in batches[done:]]):
                    self._end_if_asked()
                    loss = self.take_step(examples)
                    bar.update()
                    if self.step % STEPS_PER_SHOWN_LOSS == 0:
                        bar.set_postfix(loss=f"{loss.item():.3f}")
                    due = time.monotonic() - saved > 60 * self.options.checkpoint_minutes
                    if due and self.step % self.batches_per_epoch:  # else validation comes first
                        self._save()
                        saved = time.monotonic()
                self._validate(epoch)
                self._save()

    def _end_if_asked(self) -> None:
        """Keeps what was learned where whoever trains the teacher was told to stop."""
        try:
            stop_if_asked()
        except Stopped:
            self._save()
            raise

    def _prepare(self, spec: tuple[NDArray[np.int64], int]) -> Examples:
        rows, epoch = spec
        return self.examples(self.train, rows, epoch)

    def take_step(self, examples: Examples) -> Tensor:
        """One optimizer step; returns its loss."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        loss = self.objective(self.model, examples).loss
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.options.max_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step += 1
        return loss.detach()

    def _learning_rate(self) -> float:
        """Linear warm-up, then a cosine to a tenth of the peak."""
        peak = self.peak_learning_rate
        warmup = max(1, round(self.options.warmup_ratio * self.total_steps))
        if self.step < warmup:
            return peak * (self.step + 1) / warmup
        progress = (self.step - warmup) / max(1, self.total_steps - warmup)
        return peak * (0.1 + 0.45 * (1.0 + math.cos(math.pi * progress)))

    @torch.no_grad()
    def _validate(self, epoch: int) -> None:
        self.model.eval()
        sums = torch.zeros(3, dtype=torch.float64)
        for rows in evaluation_batches(self.val.num_roads_of_trip, self.options.batch_size):
            fit = self.objective(self.model, self.examples(self.val, rows, None))
            sums += torch.stack(
                [part.double() for part in (fit.nll_sum, fit.count, fit.right)]
            ).cpu()
        nll, count, right = sums.tolist()
        loss = nll / max(count, 1.0)
        logger.info(
            "Teacher epoch %d of %d: validation perplexity %.3f, accuracy %.4f (%s).",
            epoch + 1,
            self.options.epochs,
            math.exp(min(loss, 700.0)),
            right / max(count, 1.0),
            self.objective.described,
        )
        if loss < self.best_loss:
            self.best_loss, self.best_state = loss, _copy(self.model)

    def _save(self) -> None:
        state = RunState(
            step=self.step,
            best_loss=self.best_loss,
            best_state=self.best_state,
            model=self.model.state_dict(),
            optimizer=self.optimizer.state_dict(),
            scaler=self.scaler.state_dict(),
            random=random_state(),
        )
        save_run(run_path(self.options.output), self.identity, state)

    def weights(self) -> TeacherWeights:
        """The best epoch's weights with what is needed to use them."""
        return TeacherWeights(self.best_state, self.config.to_dict(), self.dataset_config)


def _optimizer(model: LMTAD, weight_decay: float) -> torch.optim.AdamW:
    """Weight decay for matrices, none for vectors."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)


def _copy(model: LMTAD) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
