"""Distillation as the training loop sees it: targets for a batch, then a loss against them.

`DistillationManager` joins teacher, cache, schedules and losses. It neither runs the student nor
takes steps; sums and counts are returned so that a loss can be averaged over a whole accumulation
group or over several processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from config.choices import Positions, ScheduleKind
from critics.cache_builder import open_or_build
from critics.losses import distillation_loss, relation_loss
from critics.own_loss import divergence_of
from critics.road_teacher import RoadTeacher
from critics.schedules import Schedule, ramp, training_progress
from critics.scramble import scramble
from critics.teacher_cache import TeacherCache
from critics.teachers import load_teacher
from critics.terms import KL, RELATIONS, ZONES, DistillOutput, Term
from data.masks import real_entries
from runtime.logs import get_logger

if TYPE_CHECKING:
    from config.schema import Config, DistillConfig
    from data.road_network import RoadNetwork
    from dataset import Batch, TripDataset

logger = get_logger("distill")


@dataclass(frozen=True)
class Strength:
    """How the teacher is heard at one step."""

    temperature: float
    weight: float  # of the KL: lambda, or alpha where the combination is convex
    replay_weight: float  # the same at positions of replayed trips
    ramp: float  # of everything, 0 at the start of a ramp and 1 after it


@dataclass(frozen=True)
class DistillTargets:
    """What the teacher says about a batch; independent of the student."""

    logits: Tensor  # float32 [B, T, C]
    position_mask: Tensor  # bool [B, T]: chosen, and the teacher's logits are finite
    num_positions: Tensor  # int64, how many those are
    num_nonfinite: Tensor  # int64, chosen positions left out
    hidden: Tensor | None = None  # float32 [B, E], the teacher's state at `hidden_step`
    hidden_step: Tensor | None = None  # int64 [B]


class DistillationManager:
    """The teacher's part in a run.

    `attach` a split's trips to use their cache (and, where the teacher runs live, to give it the
    whole history of cropped trips); `set_length` once the number of steps is known.
    """

    def __init__(
        self,
        config: Config,
        network: RoadNetwork,
        device: torch.device | str = "cpu",
        teacher: RoadTeacher | None = None,
    ) -> None:
        self.settings: DistillConfig = config.distill
        self.network = network
        self.device = torch.device(device)
        self.teacher = teacher if teacher is not None else load_teacher(config, network, device)
        self.seed = config.training.seed
        self.total_steps = self.steps_per_epoch = 1
        self.cache_dir = _cache_dir(config)
        self._caches: dict[str, TeacherCache] = {}
        self._datasets: dict[str, TripDataset] = {}
        settings = self.settings
        end = settings.temperature_end
        self.temperature = Schedule(
            settings.temperature_schedule,
            settings.temperature,
            end if end is not None else settings.temperature,
            settings.temperature_stages,
        )
        self.divergence = divergence_of(settings.loss)
        self.weight, self.replay_weight = _weights(settings)
        self._zone_keys = self._zones() if settings.zone_weight > 0 else None

    def attach(self, dataset: TripDataset, progress: bool = True) -> None:
        """Takes note of a split; with `distill.cache`, opens its cache or builds it."""
        self._datasets[dataset.split] = dataset
        if not self.settings.cache:
            return
        self._caches[dataset.split] = open_or_build(
            self.cache_dir, dataset, self.teacher, progress=progress
        )

    def attach_answers(self, dataset: TripDataset, answers: TeacherCache) -> None:
        """Takes the teacher's answers for a split from elsewhere, in place of earlier ones."""
        self._datasets[dataset.split] = dataset
        self._caches[dataset.split] = answers

    def set_length(self, total_steps: int, steps_per_epoch: int) -> None:
        """How long the run is, in optimizer steps: what schedules and ramps are measured by."""
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch

    def strength(self, step: int) -> Strength:
        """Temperature and weights at an optimizer step."""
        settings = self.settings
        steps = settings.lambda_ramp_steps or round(
            settings.lambda_ramp_epochs * self.steps_per_epoch
        )
        rising = ramp(step, steps)
        progress = training_progress(step, self.total_steps)
        return Strength(
            temperature=self.temperature.at(progress),
            weight=self.weight.at(progress) * rising,
            replay_weight=self.replay_weight.at(progress) * rising,
            ramp=rising,
        )

    def stage_ended(self, step: int) -> int | None:
        """The number, from 1, of the temperature's stage that an optimizer step was the last of."""
        stage = self.temperature.stage(training_progress(step, self.total_steps))
        following = self.temperature.stage(training_progress(step + 1, self.total_steps))
        is_last = stage != following or step + 1 == self.total_steps
        return stage + 1 if self.temperature.stages > 1 and is_last else None

    @torch.no_grad()
    def targets(
        self,
        batch: Batch,
        *,
        step: int = 0,
        split: str = "train",
        positions: Positions | None = None,
    ) -> DistillTargets:
        """The teacher's logits for a batch, from the cache where the split has one.

        `positions` overrides `distill.positions`, as for validation. A number of positions per
        trip is drawn anew at each step, and depends on seed, step and trip alone.
        """
        chosen = self._choose(batch, positions or self.settings.positions, step)
        cache = self._caches.get(split)
        if cache is not None:
            logits = cache.lookup(batch)
        else:
            logits = self.teacher.batch_logits(batch, chosen, self._datasets.get(split))
        real = real_entries(batch.candidate_len, logits.shape[-1])
        finite = (torch.isfinite(logits) | ~real).all(dim=-1)
        mask = chosen & finite
        hidden, last = None, None
        if self.settings.embedding_weight > 0 and not batch.replayed:
            last = (batch.trace_len - 1).clamp(min=0)
            hidden = self.teacher.hidden_states(batch, last)
        return DistillTargets(
            logits, mask, mask.sum(), (chosen & ~finite).sum(), hidden, hidden_step=last
        )

    def compute_kl_for_batch(
        self,
        batch: Batch,
        student_logits: Tensor,  # [B, T, C]
        *,
        step: int = 0,
        split: str = "train",
        positions: Positions | None = None,
        targets: DistillTargets | None = None,
        student_embedding: Tensor | None = None,  # [B, T, D], for distill.embedding_weight
    ) -> DistillOutput:
        """The distillation terms of a batch; `targets` where they were asked for before.

        A further term is one more entry here; logs and totals follow.
        """
        if targets is None:
            targets = self.targets(batch, step=step, split=split, positions=positions)
        strength = self.strength(step)
        tie_keys = None
        if self.settings.ties == "marginal" and self.teacher.tie_keys is not None:
            tie_keys = self.teacher.tie_keys[batch.candidate_road_id]

        def at_positions(weight: float, group_keys: Tensor | None = None) -> Term:
            loss_sum = distillation_loss(
                self.divergence,
                student_logits,
                targets.logits,
                batch.candidate_len,
                strength.temperature,
                reduction="sum",
                tau_squared=self.settings.tau_squared,
                tie_keys=tie_keys,
                group_keys=group_keys,
                position_mask=targets.position_mask,
            )
            return Term(loss_sum, targets.num_positions, weight)

        terms = {KL: at_positions(strength.replay_weight if batch.replayed else strength.weight)}
        if self._zone_keys is not None:
            weight = self.settings.zone_weight * strength.ramp
            terms[ZONES] = at_positions(weight, self._zone_keys[batch.candidate_road_id])
        if targets.hidden is not None:
            weight = self.settings.embedding_weight * strength.ramp
            num_trips = torch.tensor(batch.num_trips, device=student_logits.device)
            relations = num_trips * self._relations(targets, student_embedding)
            terms[RELATIONS] = Term(relations, num_trips, weight, per_trip=True)
        return DistillOutput(terms, targets.num_nonfinite, self.settings.combination)

    def _relations(self, targets: DistillTargets, student_embedding: Tensor | None) -> Tensor:
        if student_embedding is None:
            raise ValueError("distill.embedding_weight needs the student's trajectory embedding.")
        assert targets.hidden is not None and targets.hidden_step is not None
        rows = torch.arange(len(targets.hidden), device=student_embedding.device)
        student = student_embedding[rows, targets.hidden_step]  # [B, D]
        usable = torch.isfinite(targets.hidden).all(dim=-1)
        hidden = torch.where(usable.unsqueeze(1), targets.hidden, 0.0)
        return relation_loss(student, hidden, usable)

    def _choose(self, batch: Batch, positions: Positions, step: int) -> Tensor:  # bool [B, T]
        valid = batch.position_mask & (batch.candidate_len > 0)
        if positions == "all":
            return valid
        index = torch.arange(valid.shape[1], device=valid.device)
        if positions == "last":
            last = torch.where(valid, index, -1).amax(dim=1, keepdim=True)
            return valid & (index == last)
        absolute = batch.crop_start.unsqueeze(1) + index
        key = scramble(self.seed, step, batch.trip_id.unsqueeze(1), absolute)
        key = torch.where(valid, key, -1)  # real keys are not negative
        count = min(int(positions), valid.shape[1])
        smallest_kept = key.topk(count, dim=1).values[:, -1:]
        return valid & (key >= smallest_kept)

    def _zones(self) -> Tensor:
        zones = self.network.require_zones()
        return torch.from_numpy(zones.road2zone).to(self.device)


def _weights(settings: DistillConfig) -> tuple[Schedule, Schedule]:
    """The KL's weight at positions of real and of replayed trips; the latter falls alike."""
    if settings.combination == "convex":
        constant = Schedule(start=settings.alpha, end=settings.alpha)
        return constant, constant
    start, replay = settings.lambda_, settings.replay.lambda_
    end = start if settings.lambda_end is None else settings.lambda_end
    weight = _moving(settings.lambda_schedule, start, end)
    if replay is None:
        return weight, weight
    share = end / start if start > 0 else 1.0
    return weight, _moving(settings.lambda_schedule, replay, replay * share)


def _moving(kind: ScheduleKind, start: float, end: float) -> Schedule:
    """A schedule of a weight; from 0 no factor leads anywhere."""
    stays = start == end or (kind == "exponential" and start == 0)
    return Schedule("constant" if stays else kind, start, end)


def _cache_dir(config: Config) -> Path:
    chosen = config.distill.cache_dir or config.data.cache_dir
    return Path(chosen).expanduser() if chosen else Path(config.data_dir) / ".cache"
