"""Trains HOSER, with or without a teacher: the story of a run from top to bottom.

    python train_with_distill.py                                   the demo city
    python train_with_distill.py --dataset Beijing --cuda 0 --config config/Beijing.yaml \\
        --data_dir /path/to/hoser_format                           a city of your own
    torchrun --nproc-per-node 2 train_with_distill.py ...          several processes

The parts of a run (steps, validation, checkpoints, logs) are in `training/`, the model in
`hoser.py`, the teacher in `critics/`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from config import Config, load_config
from config.arguments import add_config_arguments, config_from_arguments, example_parser
from config.loading import dump_config
from critics.distill_hook import DistillationManager, restore_settings
from data.features import TripRows
from data.loading import Prefetcher
from data.sampling import crop_starts, rank_share, training_batches
from dataset import RowSpec
from hoser import HOSER
from runtime.device import resolve_device
from runtime.errors import UserError, run_main
from runtime.files import FolderLock, atomic_write_bytes
from runtime.logs import add_log_file, get_logger, remove_log_file, setup_logging
from runtime.wandb_run import start_run
from training.accumulation import AccumulationStep, GroupResult, Interrupted
from training.checkpoint import (
    Progress,
    check_identity,
    load_run,
    restore_rng,
    save_run,
    save_student,
)
from training.compilation import compile_student
from training.demo import ensure_demo_city
from training.distributed import Processes, join, leave, local_device
from training.folder import RunFolder
from training.identity import run_identity
from training.optimization import Optimization, Precision, configure_backends
from training.profiling import StepProfiler
from training.reporting import MetricsWriter, summary_table, write_metrics
from training.resources import ResourcePool
from training.shutdown import ShutdownSignals
from training.validation import validate

__all__ = ["TrainResult", "load_config", "train"]

logger = get_logger("train")

EpochCallback = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True)
class TrainResult:
    """What a run ended with. `metrics` are the best epoch's."""

    best_val_acc: float
    best_epoch: int
    checkpoint: Path
    folder: Path
    metrics: dict[str, Any]
    history: list[dict[str, Any]]
    seconds: float
    batches_per_second: float
    finished: bool
    exit_code: int = 0


def train(
    config: Config,
    *,
    pool: ResourcePool | None = None,
    folder: RunFolder | None = None,
    resume: bool | None = None,
    on_epoch_end: EpochCallback | None = None,
) -> TrainResult:
    """Trains as `config` says and returns where the best student is and how good it is.

    `resume` True demands an earlier run to go on with, False starts over (the earlier run's
    folder is moved aside), None goes on where there is one. `pool` shares loaded data between
    runs; `on_epoch_end(epoch, metrics)` may raise to end the run.
    """
    device = local_device(resolve_device(device=config.training.device))
    processes = join(device)
    folder = folder or RunFolder.of(config)
    lock = FolderLock(folder.path.parent, name=f".{folder.path.name}.lock", guards=folder.path)
    if processes.is_main:
        lock.acquire()
    try:
        if resume is False and processes.is_main:
            folder.set_aside()
        if resume is True and not folder.latest.exists():
            raise UserError(
                f"--resume: there is no checkpoint {folder.latest}; start without --resume."
            )
        processes.barrier()
        with ShutdownSignals() as signals:
            run = TrainingRun(config, folder, device, processes, signals, pool, on_epoch_end)
            return run.execute()
    except torch.OutOfMemoryError as error:
        raise UserError(
            "The device ran out of memory. Lower optimizer_config.batch_size (and raise "
            "accum_steps to keep the step), data.candidate_top_k or "
            "trajectory_encoder_config.max_len, or set trajectory_encoder_config.grad_checkpoint."
        ) from error
    finally:
        lock.release()


class TrainingRun:
    """A run's phases as methods, in the order in which they happen."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        device: torch.device,
        processes: Processes,
        signals: ShutdownSignals,
        pool: ResourcePool | None,
        on_epoch_end: EpochCallback | None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.processes = processes
        self.signals = signals
        self.pool = pool or ResourcePool()
        self.on_epoch_end = on_epoch_end
        self.progress = Progress()
        self.batches_done = 0
        self.batch_seconds = 0.0

    def execute(self) -> TrainResult:
        """Sets up, trains epoch by epoch, and reports."""
        log_file = add_log_file(self.folder.log) if self.processes.is_main else None
        try:
            self.set_up()
            exit_code = 1
            try:
                while self.progress.epoch < self.max_epoch and not self.stopping:
                    self.train_epoch()
                    if not self.stopping:
                        self.finish_epoch()
                exit_code = self.signals.exit_code
            finally:
                self.writer.close(exit_code)
                self.prefetch.close()
            return self.finish()
        finally:
            if log_file is not None:
                remove_log_file(log_file)

    # Setting up

    def set_up(self) -> None:
        """Loads data, builds model, teacher and optimizer, and takes up an earlier state."""
        config = self.config
        configure_backends(config.training.allow_tf32, config.training.cudnn_benchmark)
        state = load_run(self.folder.latest) if self.folder.latest.exists() else None
        if state is not None:
            config = self.config = restore_settings(config, state.config["distill"])
        ensure_demo_city(config)
        self._load_resources()
        torch.manual_seed(config.training.seed)
        self.model = HOSER(config, self.resources.network).to(self.device)
        self.groups_per_epoch = self._count_groups()
        self.max_epoch = config.optimizer_config.max_epoch
        total_steps = self.groups_per_epoch * self.max_epoch
        precision = Precision.choose(config.training.amp_dtype, self.device)
        self.optimization = Optimization(
            self.model, config.optimizer_config, precision, total_steps
        )
        self.teacher = self._build_teacher(total_steps) if config.distilling else None
        self.identity = run_identity(config, self.resources, self.teacher)
        if state is not None:
            check_identity(state.identity, self.identity, self.folder.latest)
            self.model.load_state_dict(state.model)
            self.optimization.load_state_dict(state.optimization)
            self.progress = state.progress
            restore_rng(state.rng)
        profiling = config.profiling
        interval = 1 if profiling.max_batches else profiling.log_interval
        self.profiler = StepProfiler(
            profiling.enable or bool(profiling.max_batches), interval, self.device
        )
        self.step = AccumulationStep(
            model=self.model,
            forward=compile_student(self.model, config.training, self.device),
            optimization=self.optimization,
            precision=precision,
            processes=self.processes,
            profiler=self.profiler,
            teacher=self.teacher,
        )
        loader = config.dataloader
        self.prefetch: Prefetcher[RowSpec, TripRows | None] = Prefetcher(
            self._gather, loader.num_workers, loader.prefetch_factor, loader.persistent_workers
        )
        self._open_outputs()

    def _load_resources(self) -> None:
        # The main process makes missing zones and caches; the others then find them.
        if self.processes.is_main:
            self.resources = self.pool.get(self.config)
        self.processes.barrier()
        self.resources = self.pool.get(self.config)
        self.train_lengths = self.resources.train.trace_lengths

    def _build_teacher(self, total_steps: int) -> DistillationManager:
        datasets = [self.resources.train, self.resources.val]
        for turn in (True, False):  # the main process builds caches, the others find them
            if self.processes.is_main is turn:
                manager = self.pool.teacher(self.config, self.resources, self.device)
                manager.set_length(total_steps, self.groups_per_epoch)
                for dataset in datasets:
                    manager.attach(dataset, progress=self.config.training.progress)
            self.processes.barrier()
        return manager

    def _count_groups(self) -> int:
        optimizer = self.config.optimizer_config
        batches = -(-len(self.resources.train) // optimizer.batch_size)
        return -(-batches // optimizer.accum_steps)

    def _open_outputs(self) -> None:
        config = self.config
        if not self.processes.is_main:
            self.writer = MetricsWriter(None)
            return
        resolved = dump_config(config)
        atomic_write_bytes(self.folder.config, resolved.encode())
        tracked = start_run(
            config.wandb,
            name=f"{config.dataset}_{self.folder.path.name}",
            config=config.model_dump(mode="json", by_alias=True),
            directory=self.folder.path,
            job_type="train",
        )
        self.writer = MetricsWriter(self.folder.tensorboard, tracked, self.progress.step)
        size = sum(p.numel() for p in self.model.parameters())
        logger.info(
            "Training %s on %s: %d trips, %d roads, %.1f M parameters, %s, files in %s.",
            "with a teacher" if self.teacher else "without a teacher",
            self.device,
            len(self.resources.train),
            self.resources.network.num_roads,
            size / 1e6,
            f"{self.processes.world_size} process(es)",
            self.folder.path,
        )
        if self.progress.finished:
            logger.info("This run is finished; start over with --fresh.")
        elif self.progress.step:
            logger.info(
                "Going on at epoch %d, step %d.", self.progress.epoch + 1, self.progress.step
            )

    # Training

    @property
    def stopping(self) -> bool:
        """Whether a signal or the profiling limit ends the run here."""
        limit = self.config.profiling.max_batches
        return self.signals.received is not None or bool(limit and self.batches_done >= limit)

    def train_epoch(self) -> None:
        """Runs the epoch's remaining optimizer steps; stops between them on a signal."""
        groups = self._epoch_groups(self.progress.epoch)
        remaining = groups[self.progress.group :]
        rows = self.prefetch([spec for group in remaining for spec in group])
        self.last_save = time.monotonic()
        bar = tqdm(
            total=len(groups),
            initial=self.progress.group,
            desc=f"Epoch {self.progress.epoch + 1}/{self.max_epoch}",
            unit="step",
            disable=not (self.processes.is_main and self.config.training.progress),
        )
        with bar:
            for group in remaining:
                started = time.perf_counter()
                try:
                    result = self._train_group(rows, group)
                except Interrupted:
                    break
                self.batch_seconds += time.perf_counter() - started
                self.progress.seconds += time.perf_counter() - started
                self._after_step(group, result, bar)
                if self._agree_to_stop():
                    break
        if self.signals.received is not None:
            self._save_latest()
            logger.info("Stopped by a signal; the state is saved in %s.", self.folder.latest)

    def _epoch_groups(self, epoch: int) -> list[list[RowSpec]]:
        """The epoch's batches, `accum_steps` to a group; the last group may be short."""
        config = self.config
        seed, optimizer = config.training.seed, config.optimizer_config
        max_len = config.trajectory_encoder_config.max_len
        batches = training_batches(
            self.train_lengths,
            optimizer.batch_size,
            seed,
            epoch,
            config.dataloader.bucket_by_length,
        )
        specs = []
        for trips in batches:
            trace_len = self.train_lengths[trips].astype("int64")
            start = crop_starts(trace_len, max_len, seed, epoch, trips)
            specs.append(RowSpec(trips, start, trace_len.clip(max=max_len)))
        size = optimizer.accum_steps
        return [specs[i : i + size] for i in range(0, len(specs), size)]

    def _gather(self, spec: RowSpec) -> TripRows | None:
        share = rank_share(torch.arange(len(spec)).numpy(), *self._place)
        if len(share) == 0:
            return None
        rows = self.resources.train.rows(spec[share])
        pin = self.config.dataloader.pin_memory and self.device.type == "cuda"
        return rows.pin_memory() if pin else rows

    @property
    def _place(self) -> tuple[int, int]:
        return self.processes.rank, self.processes.world_size

    def _train_group(
        self, rows: Iterator[TripRows | None], group: Sequence[RowSpec]
    ) -> GroupResult:
        progress = self.progress
        self.profiler.start_step(self.batches_done, len(group))
        self.optimization.set_learning_rate(progress.step)
        batches = []
        for _ in group:
            with self.profiler.phase("Data Wait"):
                gathered = next(rows)
            if gathered is None:
                continue
            with self.profiler.phase("Data Transfer"):
                batches.append(self.resources.train.features(gathered, self.device))
        alone = self.processes.world_size == 1
        self.batches_done += len(group)
        return self.step.run(
            batches,
            progress.step,
            (lambda: self.signals.received is not None) if alone else (lambda: False),
        )

    def _agree_to_stop(self) -> bool:
        flag = torch.tensor(float(self.signals.received or 0), device=self.device)
        agreed = int(self.processes.sum(flag).item())
        if agreed and self.signals.received is None:
            self.signals.received = agreed
        return self.stopping

    def _after_step(self, group: Sequence[RowSpec], result: GroupResult, bar: Any) -> None:
        progress, training = self.progress, self.config.training
        rate = self.optimization.optimizer.param_groups[0]["lr"]
        if result.finite:
            progress.nonfinite_in_a_row = 0
            for name, value in {**result.values, "steps": 1.0}.items():
                progress.epoch_sums[name] = progress.epoch_sums.get(name, 0.0) + value
        else:
            self._note_nonfinite(group)
        if self.profiler.active and self.processes.is_main:
            logger.info(self.profiler.describe())
            self.writer.scalars(self.profiler.scalars(), progress.step)
        if progress.step % training.log_interval == 0 and result.finite:
            self._log_step(result, rate)
        progress.group += 1
        progress.step += 1
        bar.update()
        if result.finite:
            bar.set_postfix(loss=f"{result.values['loss']:.4f}", acc=f"{result.accuracy:.4f}")
        every = training.checkpoint_interval_steps
        due = time.monotonic() - self.last_save > 60 * training.checkpoint_interval_minutes
        if (every and progress.step % every == 0) or due:
            self._save_latest()

    def _note_nonfinite(self, group: Sequence[RowSpec]) -> None:
        progress, limit = self.progress, self.config.training.max_nonfinite_steps
        progress.nonfinite_steps += 1
        progress.nonfinite_in_a_row += 1
        trips = [int(trip) for spec in group for trip in spec.trip_id]
        shown = ", ".join(map(str, trips[:50])) + (" …" if len(trips) > 50 else "")
        logger.warning("Step %d has a non-finite loss and is skipped.", progress.step)
        logger.warning("Its trips in train.csv (data rows from 0): %s", shown)
        if progress.nonfinite_in_a_row >= limit:
            raise UserError(
                f"{limit} steps in a row had a non-finite loss; lower the learning rate "
                f"({self.config.optimizer_config.learning_rate}), check the data, or try "
                "training.amp_dtype=off."
            )

    def _log_step(self, result: GroupResult, rate: float) -> None:
        values = {
            "train/loss": result.values["loss"],
            "train/loss_next_step": result.values["loss_next_step"],
            "train/loss_time_pred": result.values["loss_time_pred"],
            "train/next_step_acc": result.accuracy,
            "train/learning_rate": rate,
            "train/grad_norm": result.grad_norm,
            "perf/batches_per_second": self.batches_done / max(self.batch_seconds, 1e-9),
        }
        if self.teacher is not None:
            strength = self.teacher.strength(self.progress.step)
            values["train/distill_loss"] = result.values["distill_loss"]
            values["train/distill_temperature"] = strength.temperature
            values["train/distill_weight"] = strength.weight
        self.writer.scalars(values, self.progress.step)

    # Between epochs

    def finish_epoch(self) -> None:
        """Validates, keeps the best student, and saves the state of the new epoch."""
        progress = self.progress
        result = validate(
            self.model,
            self.resources.val,
            device=self.device,
            batch_size=self.config.optimizer_config.batch_size,
            processes=self.processes,
            precision=self.step.precision,
            teacher=self.teacher,
            interrupted=lambda: self.signals.received is not None and self._place[1] == 1,
        )
        if result is None:
            self._save_latest()
            logger.info("Stopped by a signal; the state is saved in %s.", self.folder.latest)
            return
        sums = progress.epoch_sums
        steps = max(sums.get("steps", 0.0), 1.0)
        record = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "train_loss": sums.get("loss", 0.0) / steps,
            "train_next_step_acc": sums.get("correct", 0.0) / max(sums.get("positions", 0.0), 1.0),
            **result.as_dict(),
            "seconds": progress.seconds,
        }
        if self.teacher is not None:
            record["train_distill_loss"] = sums.get("distill_loss", 0.0) / steps
        progress.history.append(record)
        is_best = result.next_step_acc > progress.best_val_acc
        if is_best:
            progress.best_val_acc, progress.best_epoch = result.next_step_acc, progress.epoch
        progress.epoch, progress.group, progress.epoch_sums = progress.epoch + 1, 0, {}
        progress.finished = progress.epoch >= self.max_epoch
        if self.processes.is_main:
            self._record_epoch(record, is_best)
        self._save_latest()
        if self.on_epoch_end is not None:
            self.on_epoch_end(progress.epoch, record)

    def _record_epoch(self, record: dict[str, Any], is_best: bool) -> None:
        if is_best:
            save_student(
                self.folder.best,
                self.model,
                identity=self.identity,
                config=self.config.model_dump(mode="json", by_alias=True),
                metrics=record,
            )
        validation = {
            name.replace("val_", "val/", 1): value
            for name, value in record.items()
            if name.startswith("val_")
        }
        self.writer.scalars(validation, record["step"])
        self.writer.flush()
        run = {"dataset": self.config.dataset, "identity": self.identity}
        write_metrics(self.folder.metrics, run, self.progress.history, self.progress.best_epoch)
        logger.info(
            "Epoch %d: loss %.4f, validation accuracy %.4f, MAPE %.4f (log1p), %.4f (seconds)%s%s",
            record["epoch"],
            record["train_loss"],
            record["val_next_step_acc"],
            record["val_time_pred_mape"],
            record["val_time_pred_mape_seconds"],
            f", KL {record['val_kl']:.4f}" if "val_kl" in record else "",
            "; the best so far." if is_best else ".",
        )

    def _save_latest(self) -> None:
        if self.processes.is_main and not self.config.profiling.max_batches:
            save_run(
                self.folder.latest,
                identity=self.identity,
                config=self.config.model_dump(mode="json", by_alias=True),
                progress=self.progress,
                model=self.model,
                optimization=self.optimization.state_dict(),
            )
        self.last_save = time.monotonic()

    def finish(self) -> TrainResult:
        """The result, and the table that shows it."""
        progress = self.progress
        best = progress.history[progress.best_epoch] if progress.best_epoch >= 0 else {}
        rate = self.batches_done / self.batch_seconds if self.batch_seconds else 0.0
        if best and self.processes.is_main:
            files = {
                "Best student": self.folder.best,
                "Newest state": self.folder.latest,
                "Metrics": self.folder.metrics,
                "TensorBoard": self.folder.tensorboard,
            }
            logger.info("Done.\n%s", summary_table(best, progress.seconds, rate, files))
        if self.config.profiling.max_batches and self.processes.is_main:
            logger.info("Mean of %d batches. %s", self.batches_done, self.profiler.mean())
        return TrainResult(
            best_val_acc=progress.best_val_acc,
            best_epoch=progress.best_epoch + 1,
            checkpoint=self.folder.best,
            folder=self.folder.path,
            metrics=best,
            history=progress.history,
            seconds=progress.seconds,
            batches_per_second=rate,
            finished=progress.finished,
            exit_code=self.signals.exit_code,
        )


EXAMPLES = """\
  python train_with_distill.py
  python train_with_distill.py --no-distill --seed 1
  python train_with_distill.py --dataset Beijing --cuda 0 --config config/Beijing.yaml \\
      --data_dir /path/to/hoser_format
  python train_with_distill.py --set distill.window=full --set optimizer_config.max_epoch=3
  torchrun --nproc-per-node 2 train_with_distill.py --dataset Beijing
"""


def main() -> int:
    """The command line of `train`."""
    parser = example_parser("Train HOSER, with or without a teacher.", EXAMPLES)
    add_config_arguments(parser)
    run = parser.add_argument_group("run")
    run.add_argument("--no-distill", action="store_true", help="train without a teacher")
    earlier = run.add_mutually_exclusive_group()
    earlier.add_argument(
        "--resume", action="store_true", help="demand an earlier run to go on with"
    )
    earlier.add_argument("--fresh", action="store_true", help="move an earlier run aside")
    run.add_argument("--save_dir", help="where runs are kept; default: save")
    run.add_argument(
        "--profile_max_batches", type=int, metavar="N", help="profile N batches, then stop"
    )
    run.add_argument("--print_config", action="store_true", help="print the configuration and exit")
    arguments = parser.parse_args()
    if arguments.no_distill:
        arguments.set.append("distill.enable=false")
    if arguments.save_dir is not None:
        arguments.set.append(f"save_dir={arguments.save_dir}")
    if arguments.profile_max_batches is not None:
        arguments.set.append(f"profiling.max_batches={arguments.profile_max_batches}")
    config = config_from_arguments(arguments)
    if arguments.print_config:
        print(dump_config(config), end="")
        return 0
    setup_logging()
    resume = True if arguments.resume else False if arguments.fresh else None
    try:
        return train(config, resume=resume).exit_code
    finally:
        leave()


if __name__ == "__main__":
    run_main(main)
