"""What the user asks for: which trips, how, and the student that drives them. Nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from config.finding import run_config_file, run_of
from config.generation import PairSettings, SearchSettings, check_count
from config.schema import Config
from runtime.errors import UserError
from runtime.files import timestamp
from runtime.logs import get_logger
from runtime.names import safe_name
from search.searches import label_of

logger = get_logger("generate")


@dataclass(frozen=True)
class GenerationRequest:
    """Which trips to generate, how, and with what. Plain data, also for other processes."""

    config: Config
    model_path: Path | None = None  # None: the best student that training has left
    num_trips: int | None = None  # None: all of a file of pairs, else the default number
    pairs: PairSettings = field(default_factory=PairSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    trips_in_flight: int | None = None

    def __post_init__(self) -> None:
        check_count("num_gene", self.num_trips)
        check_count("batch_size", self.trips_in_flight)

    @property
    def seed(self) -> int:
        """The seed of everything drawn."""
        return self.config.training.seed


def find_checkpoint(config: Config) -> Path:
    """The best student that training has left for this dataset and seed, the distilled first."""
    folder = Path(config.save_dir) / config.dataset
    seed = f"seed{config.training.seed}"
    places = [folder / name / "best.pth" for name in (f"{seed}_distill", seed)]
    for path in places:
        if path.is_file():
            logger.info("Generating with %s.", path)
            return path
    raise UserError(
        f"There is no trained student at {places[0]} or {places[1]}; train one with "
        "train_with_distill.py, or give its file with --model_path."
    )


def od_label(request: GenerationRequest) -> str:
    """The OD pairs in the names of files and runs."""
    file = request.pairs.file
    return file.stem if file is not None else f"{request.pairs.split}od"


def default_output(request: GenerationRequest) -> Path:
    """In the folder of the model's training run, else in `gene/<dataset>/seed<N>/`."""
    assert request.model_path is not None
    if run_config_file(request.model_path) is not None:
        folder = run_of(request.model_path) / "gene"
    else:
        name = safe_name(request.config.dataset, "dataset")
        folder = Path("gene") / name / f"seed{request.seed}"
    return folder / f"{timestamp()}_{label_of(request.search)}_{od_label(request)}.csv"
