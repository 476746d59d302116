"""A training run as a sequence of phases: set up, train an epoch, finish it, report.

`train_with_distill.train` starts one; the parts it is made of each have a module of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from tqdm import tqdm

from config import Config
from config.unread import unread_settings
from critics.distill_hook import DistillationManager
from critics.registry import require_teachers
from data.features import TripRows
from data.loading import Prefetcher
from dataset import RowSpec
from hoser import HOSER
from models.checkpoint import TrainingData
from runtime.distributed import Processes
from runtime.errors import UserError
from runtime.logs import add_log_file, get_logger, remove_log_file
from runtime.placing import adopt
from runtime.precision import Precision
from runtime.random_state import random_state, restore_random_state
from runtime.shutdown import ShutdownSignals, Stopped
from training.accumulation import AccumulationStep, GroupResult, Interrupted
from training.best_student import BestStudent
from training.checkpoint import Progress, RunState, load_run, named_errors
from training.compilation import compile_student
from training.demo import ensure_demo_city, ensure_demo_teacher, makes_teacher
from training.first_embeddings import begin_where_the_teacher_is
from training.folder import RunFolder
from training.identity import check_inputs, check_settings, run_inputs
from training.optimization import Optimization, configure_backends
from training.plan import EpochPlan
from training.profiling import StepProfiler
from training.recorder import Recorder
from training.replay import Replay
from training.reporting import epoch_record, summary_table
from training.resources import ResourcePool
from training.result import EpochCallback, TrainResult, before_calibration
from training.stopping import AgreedSignals
from training.validation import ValidationResult, validate

logger = get_logger("train")


class TrainingRun:
    """The phases of a run, in the order in which they happen."""

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        device: torch.device,
        processes: Processes,
        signals: ShutdownSignals,
        pool: ResourcePool,
        on_epoch_end: EpochCallback | None,
        finish: bool,
    ) -> None:
        self.config = config
        self.folder = folder
        self.device = device
        self.processes = processes
        self.signals = signals
        self.agreed = AgreedSignals(signals, processes, device)
        self.pool = pool
        self.on_epoch_end = on_epoch_end
        self.finish = finish
        self.progress = Progress()
        self.batches_done = 0
        self.busy_seconds = 0.0
        self.exit_code = 1  # until the run has ended as it should
        self.last_save = time.monotonic()

    def execute(self) -> TrainResult:
        """Trains epoch by epoch until the end, a signal, or an error."""
        log_file = add_log_file(self.folder.log) if self.processes.is_main else None
        try:
            try:
                self.set_up()
            except Stopped:
                logger.info("Stopped by a signal before the first step.")
                return self.report()
            try:
                while self.progress.epoch < self.max_epoch and not self._agree_to_stop():
                    self.train_epoch()
                    if not self.stopping:
                        self.finish_epoch()
                if self.agreed.received is not None and not self.progress.finished:
                    self._stop_here()
                elif self.progress.finished and self.finish and self.processes.is_main:
                    self.complete_student()
                self.exit_code = self.signals.exit_code
            finally:
                self.recorder.close(self.exit_code)
                self.prefetch.close()
            return self.report()
        finally:
            if log_file is not None:
                remove_log_file(log_file)

    # Setting up

    def set_up(self) -> None:
        """Loads data, builds model, teacher and optimizer, and takes up an earlier state."""
        state = load_run(self.folder.latest) if self.folder.latest.exists() else None
        if state is not None:
            check_settings(state, self.config, self.folder.latest)
        config = self.config
        if self.processes.is_main:
            for line in unread_settings(config):
                logger.warning(line)
        if config.distilling and not makes_teacher(config):
            require_teachers(config)  # found missing before the data are read, which takes long
        configure_backends(config.training.allow_tf32, config.training.cudnn_benchmark)
        ensure_demo_city(config)
        self.resources = self.pool.get(config)
        torch.manual_seed(config.training.seed)
        self.model = HOSER(config, self.resources.network).to(self.device)
        self.plan = EpochPlan(config, self.resources.train, self.processes, self.device)
        self.max_epoch = config.optimizer_config.max_epoch
        total_steps = self.plan.groups_per_epoch * self.max_epoch
        self.precision = Precision.choose(config.training.amp_dtype, self.device)
        self.optimization = Optimization(
            self.model, config.optimizer_config, self.precision, total_steps
        )
        self.teacher = self._build_teacher(total_steps) if config.distilling else None
        inputs = run_inputs(config, self.resources, self.teacher)
        if state is not None:
            check_inputs(state, inputs, self.folder.latest)
            if self.processes.is_main:
                adopt(*self.folder.results, only_without_record=True)
            self._take_up(state)
        elif self.teacher is not None and config.distill.first_embeddings == "teacher":
            vectors = self.teacher.teacher.road_vectors()
            begin_where_the_teacher_is(self.model, vectors, self.processes)
        self.replay = self._build_replay()
        self._build_step()
        if self.teacher is not None and self.processes.is_main and not self.progress.step:
            self.pool.report_teacher(config, self.resources, self.teacher)
        train = self.resources.train
        trained_on = TrainingData(train.source_hash, train.time_mean, train.time_std)
        self.recorder = Recorder(config, self.folder, inputs, trained_on, self.processes.is_main)
        self.recorder.open(self.progress)
        self.recorder.announce(
            self.resources, self.model, self.device, distilled=self.teacher is not None
        )

    # Several processes may come here at once: what is missing is made by one of them under a lock
    # of the file system, for which the others wait as long as it takes.

    def _build_teacher(self, total_steps: int) -> DistillationManager:
        drawn = random_state()
        ensure_demo_teacher(self.config, self.resources.network, self.device)
        manager = self.pool.teacher(self.config, self.resources, self.device)
        manager.set_length(total_steps, self.plan.groups_per_epoch)
        progress = self.config.training.progress and self.processes.is_main
        for dataset in (self.resources.train, self.resources.val):
            manager.attach(dataset, progress=progress)
        restore_random_state(drawn)  # a teacher draws weights where it is loaded, not where shared
        self.processes.barrier()
        return manager

    def _build_replay(self) -> Replay | None:
        if self.teacher is None or not self.config.distill.replay.trips:
            return None
        return Replay(
            self.config, self.resources, self.teacher, self.plan, self.folder, self.processes
        )

    def _take_up(self, state: RunState) -> None:
        """Goes on where an earlier run stopped."""
        with named_errors(self.folder.latest):
            self.model.load_state_dict(state.model)
            self.optimization.load_state_dict(state.optimization)
            restore_random_state(state.rng)
        self.progress = state.progress
        if self.progress.finished:
            logger.info("This run is finished; --fresh starts it over.")
        else:
            epoch, step = self.progress.epoch + 1, self.progress.step
            logger.info("Going on in epoch %d after step %d.", epoch, step)

    def _build_step(self) -> None:
        profiling, loader = self.config.profiling, self.config.dataloader
        interval = 1 if profiling.max_batches else profiling.log_interval
        wanted = profiling.enable or profiling.max_batches is not None
        self.profiler = StepProfiler(wanted, interval, self.device)
        self.step = AccumulationStep(
            model=self.model,
            calls=compile_student(self.model, self.config.training, self.device),
            optimization=self.optimization,
            precision=self.precision,
            processes=self.processes,
            profiler=self.profiler,
            teacher=self.teacher,
        )
        self.prefetch: Prefetcher[RowSpec, TripRows | None] = Prefetcher(
            self.plan.gather, loader.num_workers, loader.prefetch_factor, loader.persistent_workers
        )

    # Training

    @property
    def stopping(self) -> bool:
        """Whether a signal or the profiling limit ends the run here."""
        limit = self.config.profiling.max_batches
        return self.agreed.received is not None or bool(limit and self.batches_done >= limit)

    def _interrupted(self) -> bool:
        # Several processes must agree first, which they do between steps.
        return self.signals.received is not None and self.processes.world_size == 1

    def train_epoch(self) -> None:
        """Runs the epoch's remaining optimizer steps."""
        if self.replay is not None:
            self.replay.begin_epoch(self.progress.epoch, self.progress.group, self.model)
        groups = self.plan.groups(self.progress.epoch)
        remaining = groups[self.progress.group :]
        rows = self.prefetch([spec for group in remaining for spec in group])
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
                elapsed = time.perf_counter() - started
                self.busy_seconds += elapsed
                self.progress.seconds += elapsed
                self._after_step(group, result)
                bar.update()
                bar.set_postfix(loss=result.values["loss"], acc=result.accuracy)
                if self._agree_to_stop():
                    break

    def _train_group(
        self, rows: Iterator[TripRows | None], group: Sequence[RowSpec]
    ) -> GroupResult:
        self.profiler.start_step(self.batches_done, self.plan.batches_per_step)
        self.learning_rate = self.optimization.set_learning_rate(self.progress.step)
        batches = []
        for _ in group:
            with self.profiler.phase("Data Wait"):
                gathered = next(rows)
            if gathered is not None:
                with self.profiler.phase("Data Transfer"):
                    batches.append(self.resources.train.features(gathered, self.device))
        drawn = random_state()
        try:
            result = self.step.run(batches, self.progress.step, self._interrupted)
        except Interrupted:
            restore_random_state(drawn)  # the group is done anew, from the same dropout on
            raise
        self.batches_done += self.plan.batches_per_step
        return result

    def _after_step(self, group: Sequence[RowSpec], result: GroupResult) -> None:
        progress, training = self.progress, self.config.training
        if result.finite:
            progress.nonfinite_in_a_row = 0
            for name, value in {**result.values, "steps": 1.0}.items():
                progress.epoch_sums[name] = progress.epoch_sums.get(name, 0.0) + value
            if progress.step % training.log_interval == 0:
                rate = self.batches_done / max(self.busy_seconds, 1e-9)
                self.recorder.step(progress, result, self.learning_rate, rate, self.teacher)
        else:
            self._skip_step(group)
        if self.profiler.active:
            self.recorder.profile(self.profiler, progress.step)
        self._keep_stage()
        progress.group += 1
        progress.step += 1
        every = training.checkpoint_interval_steps
        due = time.monotonic() - self.last_save > 60 * training.checkpoint_interval_minutes
        if (every and progress.step % every == 0) or due:
            self._save()

    def _keep_stage(self) -> None:
        """Keeps the student where the step just taken was a stage's last."""
        if self.teacher is None or not self.config.training.stage_checkpoints:
            return
        stage = self.teacher.stage_ended(self.progress.step)
        if stage is not None:
            temperature = self.teacher.strength(self.progress.step).temperature
            self.recorder.stage(self.progress, stage, temperature, self.model)

    def _skip_step(self, group: Sequence[RowSpec]) -> None:
        progress, limit = self.progress, self.config.training.max_nonfinite_steps
        progress.nonfinite_steps += 1
        progress.nonfinite_in_a_row += 1
        own = [spec.trip_id for spec in group if not spec.replayed]  # a replayed trip has no row
        trips = np.concatenate([np.empty(0, dtype=np.int64), *own])
        self.recorder.nonfinite(progress, self.resources.train.file_rows(trips))
        if progress.nonfinite_in_a_row >= limit:
            raise self._not_learning(f"{limit} steps in a row had a non-finite loss")

    def _not_learning(self, found: str) -> UserError:
        rate = self.config.optimizer_config.learning_rate
        return UserError(
            f"{found}; lower optimizer_config.learning_rate ({rate}), check the data, or try "
            "training.amp_dtype=off."
        )

    def _agree_to_stop(self) -> bool:
        """Whether any process received a signal; then all stop after the same step or epoch."""
        self.agreed.agree()
        return self.stopping

    def _stop_here(self) -> None:
        self._save()
        if self.processes.is_main:
            logger.info("Stopped by a signal; the state is saved in %s.", self.folder.latest)

    def _save(self) -> None:
        self.recorder.save(self.progress, self.model, self.optimization)
        self.last_save = time.monotonic()

    # Between epochs

    def finish_epoch(self) -> None:
        """Validates, keeps the best student, and saves the state of the new epoch."""
        progress = self.progress
        if not progress.epoch_sums.get("steps"):
            raise self._not_learning(
                f"Every step of epoch {progress.epoch + 1} had a non-finite loss, so nothing was "
                "learned"
            )
        result = self._validate(self.model, self._interrupted)
        if result is None:
            return
        terms = {"distill_loss": self.teacher, "replay_loss": self.replay}
        taking_part = [name for name, part in terms.items() if part is not None]
        record = epoch_record(progress, result.as_dict(), taking_part)
        progress.history.append(record)
        is_best = result.next_step_acc > progress.best_val_acc
        if is_best:
            progress.best_val_acc, progress.best_epoch = result.next_step_acc, progress.epoch
        progress.epoch, progress.group, progress.epoch_sums = progress.epoch + 1, 0, {}
        progress.finished = progress.epoch >= self.max_epoch
        self.recorder.epoch(progress, record, is_best, self.model)
        if progress.finished and self.finish:
            self._calibrate()
        self._save()
        if self.on_epoch_end is not None:
            self.exit_code = 0  # a caller that has seen enough raises, which is no failure
            self.on_epoch_end(progress.epoch, record)
            self.exit_code = 1

    def _validate(self, student: HOSER, interrupted: Callable[[], bool]) -> ValidationResult | None:
        return validate(
            student,
            self.resources.val,
            device=self.device,
            batch_size=self.config.optimizer_config.batch_size,
            processes=self.processes,
            precision=self.precision,
            teacher=self.teacher,
            interrupted=interrupted,
        )

    def _calibrate(self) -> None:
        if self.teacher is None or not self.config.distill.calibrate or self.recorder.profiling:
            return  # or the run only measures itself, and has no best student
        self.processes.barrier()  # the main process writes what all read
        best, temperature = self._best_student().calibrated()
        self.processes.barrier()
        result = self._validate(best, interrupted=lambda: False)
        assert result is not None
        record = self.progress.best
        record.update(before_calibration(record))
        record.update({**result.as_dict(), "calibration_temperature": temperature})
        self.recorder.calibrated(self.progress, record, best)

    def complete_student(self) -> None:
        """Tells the best student what it has seen of turns and how its travel times spread.

        And the run how well it knows; a run may have been killed between the two.
        """
        if self.recorder.profiling or not self.folder.best.exists():
            return
        best = self._best_student()
        if self.replay is not None and not best.knows_turns:
            best.keep_turn_counts(self.replay.turn_counts(self.max_epoch - 1))
        if best.knows_spread and self.recorder.knows_travel_times(self.progress):
            return
        quality = best.fit_travel_times()
        if quality is not None:
            self.recorder.travel_times(self.progress, quality)
            self._save()  # a finished run that is read again knows these figures, too

    def _best_student(self) -> BestStudent:
        return BestStudent(self.config, self.folder, self.resources, self.device)

    def _batches_per_second(self) -> float:
        """Of the whole run, of which this process may have trained little or nothing.

        A run that only measures itself has a rate of its own.
        """
        if self.config.profiling.max_batches is not None:
            return self.batches_done / self.busy_seconds if self.busy_seconds else 0.0
        progress = self.progress
        if not progress.seconds:
            return 0.0
        return progress.step * self.plan.batches_per_step / progress.seconds

    def report(self) -> TrainResult:
        """The result, and the table that shows it."""
        progress, folder = self.progress, self.folder
        rate = self._batches_per_second()
        if self.processes.is_main and self.config.profiling.max_batches and self.batches_done:
            logger.info("%d batches. %s", self.batches_done, self.profiler.mean())
        elif self.processes.is_main and progress.best:
            logger.info("Done.\n%s", summary_table(progress.best, progress.seconds, rate, folder))
        return TrainResult.of(progress, folder, rate, self.signals.exit_code)
