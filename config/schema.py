"""The configuration tree of training and tuning: every knob, its type, range and default.

Only the shape of the tree lives here, the study's part in `study`. Reading YAML, overrides and
error texts are in `loading`.
A setting that two runs need not share is marked so (`agreement`); every other one counts.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from config.agreement import CHANGES_NO_RESULT, OF_EACH_RUN, OF_THE_STUDY, SEEN_IN_THE_DATA
from config.choices import (
    AmpChoice,
    AngleConvention,
    Combination,
    CompileMode,
    Driver,
    FirstEmbeddings,
    LossKind,
    OnBadRows,
    Pairs,
    PresetName,
    ScheduleKind,
    TeacherDtype,
    TeacherKind,
    Ties,
    Vocabulary,
)
from config.section import (
    Fraction,
    NonNegativeFloat,
    NonNegativeInt,
    OwnFunction,
    PositiveFloat,
    PositiveInt,
    Section,
    Temperature,
    Window,
)
from config.study import OptunaConfig


class RoadNetworkEncoderConfig(Section):
    """Widths of the road and zone embeddings; the four attribute widths and the id add up."""

    road_id_emb_dim: PositiveInt = 64
    len_emb_dim: PositiveInt = 16
    type_emb_dim: PositiveInt = 16
    lon_emb_dim: PositiveInt = 16
    lat_emb_dim: PositiveInt = 16
    intersection_emb_dim: PositiveInt = 128
    zone_id_emb_dim: PositiveInt = 128
    zone_id_num_embeddings: PositiveInt = 300

    @property
    def hidden_dim(self) -> int:
        """The width of a road's embedding."""
        attributes = self.len_emb_dim + self.type_emb_dim + self.lon_emb_dim + self.lat_emb_dim
        return self.road_id_emb_dim + attributes


class TrajectoryEncoderConfig(Section):
    """The transformer over the trip so far."""

    hidden_dim: PositiveInt = 128
    num_heads: PositiveInt = 2
    num_layers: PositiveInt = 2
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    max_len: Annotated[int, Field(ge=2, le=65536)] = 1024
    grad_checkpoint: Annotated[bool, CHANGES_NO_RESULT] = False


class NavigatorConfig(Section):
    """The head that scores candidate roads."""

    hidden_dim: PositiveInt = 128


class OptimizerConfig(Section):
    """Epochs, batches and AdamW."""

    max_epoch: Annotated[PositiveInt, OF_EACH_RUN] = 25
    batch_size: PositiveInt = 64
    accum_steps: PositiveInt = 8
    learning_rate: PositiveFloat = 1e-3
    weight_decay: NonNegativeFloat = 0.1
    warmup_ratio: Fraction = 0.1
    max_norm: NonNegativeFloat = 1.0


class BoundsConfig(Section):
    """A rectangle in degrees."""

    min_lat: Annotated[float, Field(ge=-90, le=90)]
    max_lat: Annotated[float, Field(ge=-90, le=90)]
    min_lng: Annotated[float, Field(ge=-180, le=180)]
    max_lng: Annotated[float, Field(ge=-180, le=180)]

    @model_validator(mode="after")
    def _ordered(self) -> BoundsConfig:
        if self.min_lat >= self.max_lat or self.min_lng >= self.max_lng:
            raise ValueError("min_lat must be below max_lat and min_lng below max_lng")
        return self


class ReplayConfig(Section):
    """Further trips, driven by the teacher or the student and answered by the teacher."""

    trips: NonNegativeInt = 0
    share: PositiveFloat = 1.0
    driver: Driver = "teacher"
    student_share: Fraction = 0.5
    od: Pairs = "recombined"
    od_file: str | None = None
    temperature: PositiveFloat = 1.0
    detour_quantile: Fraction = 0.95
    max_roads: Annotated[int, Field(ge=2, le=65536)] = 1000
    refresh_epochs: NonNegativeInt = 0
    lambda_: NonNegativeFloat | None = Field(default=None, alias="lambda")
    label_weight: NonNegativeFloat = 0.0


class DistillConfig(Section):
    """The teacher and the loss with which it teaches."""

    enable: Annotated[bool, OF_EACH_RUN] = True
    preset: Annotated[PresetName | None, CHANGES_NO_RESULT] = None
    teacher: TeacherKind = "lmtad"
    teacher_name: str | None = None
    repo: Annotated[str | None, CHANGES_NO_RESULT] = None
    ckpt: Annotated[str | None, CHANGES_NO_RESULT] = None
    further_ckpts: Annotated[list[str], CHANGES_NO_RESULT] = []
    teacher_config: str | None = None
    dtype: TeacherDtype = "auto"
    vocabulary: Vocabulary = "grid"
    destination_prefix: bool = False
    window: Window | Literal["full"] = 4
    grid_size: PositiveFloat = 0.001
    downsample: PositiveInt = 1
    bounds: BoundsConfig | None = None
    verify_grid_dims: bool = True
    lambda_: NonNegativeFloat = Field(default=0.01, alias="lambda")
    lambda_ramp_steps: NonNegativeInt = 0
    lambda_ramp_epochs: NonNegativeFloat = 0.0
    lambda_end: NonNegativeFloat | None = None
    lambda_schedule: ScheduleKind = "constant"
    time_weight: PositiveFloat = 1.0
    temperature: Temperature = 2.0
    temperature_end: Temperature | None = None
    temperature_schedule: ScheduleKind = "constant"
    temperature_stages: NonNegativeInt = 0
    tau_squared: bool = False
    loss: LossKind | OwnFunction = "forward_kl"
    combination: Combination = "additive"
    alpha: Fraction = 0.7
    positions: Annotated[int, Field(ge=1)] | Literal["all", "last"] = "all"
    ties: Ties = "replicate"
    first_embeddings: FirstEmbeddings = "random"
    embedding_weight: NonNegativeFloat = 0.0
    zone_weight: NonNegativeFloat = 0.0
    cache: Annotated[bool, CHANGES_NO_RESULT] = True
    cache_dir: Annotated[str | None, CHANGES_NO_RESULT] = None
    teacher_report: Annotated[bool, CHANGES_NO_RESULT] = True
    calibrate: bool = True
    replay: ReplayConfig = ReplayConfig()

    @model_validator(mode="after")
    def _falls_to_something(self) -> DistillConfig:
        falls = self.lambda_schedule == "exponential" and self.combination == "additive"
        if falls and self.lambda_ > 0 and self.lambda_end == 0:
            raise ValueError(
                "lambda_end is 0, which lambda_schedule exponential never reaches; give a "
                "lambda_end above 0, or linear or cosine"
            )
        return self


class DataloaderConfig(Section):
    """How batches reach the device."""

    num_workers: Annotated[Annotated[int, Field(ge=0, le=1024)], CHANGES_NO_RESULT] = 6
    pin_memory: Annotated[bool, CHANGES_NO_RESULT] = False
    prefetch_factor: Annotated[PositiveInt, CHANGES_NO_RESULT] = 16
    persistent_workers: Annotated[bool, CHANGES_NO_RESULT] = False
    bucket_by_length: bool = True


class DataConfig(Section):
    """What the trips become."""

    candidate_top_k: NonNegativeInt = 64
    angle_convention: AngleConvention = "hoser"
    on_bad_rows: Annotated[OnBadRows, SEEN_IN_THE_DATA] = "error"
    cache_dir: Annotated[str | None, CHANGES_NO_RESULT] = None
    ram_fraction: Annotated[Annotated[float, Field(gt=0, le=1)], CHANGES_NO_RESULT] = 0.6
    num_zones: Annotated[PositiveInt, SEEN_IN_THE_DATA] = 300
    max_train_trips: PositiveInt | None = None


class TrainingConfig(Section):
    """Precision, compilation and run control."""

    seed: Annotated[NonNegativeInt, OF_EACH_RUN] = 0
    device: Annotated[str | None, CHANGES_NO_RESULT] = None
    allow_tf32: bool = True
    cudnn_benchmark: Annotated[bool, CHANGES_NO_RESULT] = True
    torch_compile: Annotated[bool, CHANGES_NO_RESULT] = True
    torch_compile_mode: Annotated[CompileMode, CHANGES_NO_RESULT] = "max-autotune"
    disable_cudagraphs: Annotated[bool, CHANGES_NO_RESULT] = True
    amp_dtype: AmpChoice = "auto"
    checkpoint_interval_steps: Annotated[NonNegativeInt, CHANGES_NO_RESULT] = 0
    checkpoint_interval_minutes: Annotated[PositiveFloat, CHANGES_NO_RESULT] = 10.0
    stage_checkpoints: Annotated[bool, CHANGES_NO_RESULT] = False
    max_nonfinite_steps: Annotated[PositiveInt, CHANGES_NO_RESULT] = 20
    log_interval: Annotated[PositiveInt, CHANGES_NO_RESULT] = 10
    progress: Annotated[bool, CHANGES_NO_RESULT] = True


class ProfilingConfig(Section):
    """Where a step's time goes, measured on one batch in `log_interval`."""

    enable: bool = True
    log_interval: PositiveInt = 1000
    max_batches: PositiveInt | None = None


class WandbConfig(Section):
    """Experiment tracking; never asks for a login."""

    enable: bool = False
    project: str = "hoser-distil"
    entity: str | None = None
    run_name: str = ""
    group: str | None = None
    tags: list[str] = []
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    background_sync: bool = False
    log_artifacts: bool = False


class Config(Section):
    """Everything a training run or a study depends on."""

    dataset: str = "demo"
    data_dir: Annotated[str, CHANGES_NO_RESULT] = "data/demo"
    save_dir: Annotated[str, CHANGES_NO_RESULT] = "save"
    road_network_encoder_config: RoadNetworkEncoderConfig = RoadNetworkEncoderConfig()
    trajectory_encoder_config: TrajectoryEncoderConfig = TrajectoryEncoderConfig()
    navigator_config: NavigatorConfig = NavigatorConfig()
    optimizer_config: OptimizerConfig = OptimizerConfig()
    distill: DistillConfig = DistillConfig()
    dataloader: DataloaderConfig = DataloaderConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    profiling: Annotated[ProfilingConfig, CHANGES_NO_RESULT] = ProfilingConfig()
    wandb: Annotated[WandbConfig, CHANGES_NO_RESULT] = WandbConfig()
    optuna: Annotated[OptunaConfig, OF_THE_STUDY] = OptunaConfig()

    @model_validator(mode="after")
    def _widths_agree(self) -> Config:
        encoder = self.road_network_encoder_config
        width = encoder.hidden_dim
        for name, value in (
            ("road_network_encoder_config.intersection_emb_dim", encoder.intersection_emb_dim),
            ("road_network_encoder_config.zone_id_emb_dim", encoder.zone_id_emb_dim),
            ("trajectory_encoder_config.hidden_dim", self.trajectory_encoder_config.hidden_dim),
            ("navigator_config.hidden_dim", self.navigator_config.hidden_dim),
        ):
            if value != width:
                raise ValueError(
                    f"{name} is {value}, but the road embedding (road_id + len + type + lon + lat "
                    f"widths) is {width}; they must be equal"
                )
        trajectory = self.trajectory_encoder_config
        if 2 * trajectory.hidden_dim % trajectory.num_heads or trajectory.hidden_dim % 2:
            raise ValueError(
                "trajectory_encoder_config.hidden_dim must be even, and twice it divisible by "
                f"num_heads ({trajectory.num_heads})"
            )
        return self

    @property
    def distilling(self) -> bool:
        """Whether a teacher takes part: enabled, with a weight above zero somewhere."""
        distill = self.distill
        weights = distill.lambda_ + distill.embedding_weight + distill.zone_weight
        if distill.combination == "convex":
            weights = distill.alpha + distill.embedding_weight + distill.zone_weight
        return distill.enable and weights > 0
