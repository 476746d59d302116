"""What a study of a real city is asked for: students, seeds, searches, sizes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from config.generation import SearchSettings

# Students without a teacher: of the same steps, of as many as help, and by the plain formulas.
VANILLA, LONG, PLAIN = "vanilla", "vanilla_long", "plain"
# Those of `bench.gain_replay.ways_to_teach`.
TAUGHT = ("own_trips", "teacher_drives", "student_drives", "both_drive")
KINDS = (VANILLA, LONG, *TAUGHT, PLAIN)
# Whose trips are looked at more closely: for what they are of use, and what they give away.
FOLLOWED = (VANILLA, "teacher_drives")
SEARCHES = {
    "best_first": SearchSettings("astar"),
    # Costs by validation trips of San Francisco, the same for all students.
    "directed": SearchSettings("astar", detour_cost=4.0),
    "directed_by_time": SearchSettings("astar", detour_cost=4.0, delay_cost=2.0),
    "fitted": SearchSettings("astar", costs="fitted"),  # to each student
    "beam_16": SearchSettings("beam", 16),
    "drawn": SearchSettings("sample"),
    "drawn_fitted": SearchSettings("sample", costs="fitted"),
}
REALISTIC = "drawn"  # the search whose trips are to be like real ones, not the most probable ones
FEWEST_EPOCHS = 2


@dataclass(frozen=True)
class StudySettings:
    """A study: the whole one by default."""

    data_dir: Path
    out: Path
    sizes: tuple[int | None, ...] = (1000, 3000, 10_000, None)  # training trips, None for all
    kinds: tuple[str, ...] = KINDS
    seeds: int = 5
    plain_seeds: int = 1  # the plain formulas are slow
    searches: tuple[str, ...] = tuple(SEARCHES)
    num_generated: int = 3000  # trips for OD pairs of the test split
    val_trips: int = 1000  # evenly spread ones: every epoch ends with them
    scored_trips: int = 3000
    trips_seen: int = 60_000  # by a student in its training, which gives its epochs
    teacher: tuple[Path, ...] = ()  # those that are there already
    num_teachers: int = 1  # otherwise, of as many training seeds; they teach together
    teacher_epochs: int = 8
    num_zones: int = 300
    resamples: int = 200
    device: str = "cpu"

    def quick(self) -> StudySettings:
        """The same on next to nothing, to see that it runs."""
        return replace(
            self,
            sizes=(40,),
            seeds=1,
            searches=("best_first", REALISTIC),
            num_generated=20,
            val_trips=24,  # percentiles of scores need twenty
            scored_trips=110,  # one in twenty is strange, and five of a kind say something
            trips_seen=80,
            teacher_epochs=1,
            num_zones=10,
            resamples=0,
        )

    def epochs(self, num_trips: int) -> int:
        """So many that students of few and of many trips take about as many steps."""
        return max(FEWEST_EPOCHS, round(self.trips_seen / num_trips))
