"""Replayed trips as the settings say: requests, and drives until there are enough."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from critics.replay.driving import Driver, DriveRules, Drives, join_drives
from critics.replay.origins import teachers_requests
from critics.replay.policies import JointPolicy, LMTADPolicy, Policy, StudentPolicy
from critics.replay.requests import (
    Requests,
    detour_limit,
    own_requests,
    recombined_requests,
    requests_from_file,
)
from critics.replay.store import open_or_drive
from critics.replay.trips import ReplayedTrips
from critics.road_teacher import HOSERRoadTeacher, LMTADRoadTeacher, RoadTeacher
from critics.teachers import JointRoadTeacher
from dataset import TripDataset
from runtime.errors import UserError
from runtime.files import sha256_of_file
from runtime.logs import get_logger

if TYPE_CHECKING:
    from config.schema import ReplayConfig
    from hoser import HOSER

logger = get_logger("replay")

MOST_DRIVES = 6  # for each trip that is wanted
TRIPS_PER_ANSWER = 2048
HOSER_DRIVES = 2  # raised when a HOSER drives otherwise: what is kept of before is made anew


class ReplayMaker:
    """Makes replayed trips like those of `dataset`, which the student learns from.

    As many as are asked for, but no more than `epochs` epochs can use.
    """

    def __init__(
        self,
        settings: ReplayConfig,
        dataset: TripDataset,
        teacher: RoadTeacher,
        seed: int,
        epochs: int,
    ) -> None:
        self.settings = settings
        self.dataset = dataset
        self.teacher = teacher
        self.seed = seed
        of_student = {"teacher": 0.0, "student": 1.0, "both": settings.student_share}
        epochs = settings.refresh_epochs or epochs
        wanted = min(settings.trips, epochs * max(1, round(settings.share * len(dataset))))
        self.num_students = round(of_student[settings.driver] * wanted)
        self.num_teachers = wanted - self.num_students

    @property
    def version(self) -> dict[str, int]:
        """By what teachers' drives are told from earlier ones; LM-TAD's are as they always were."""
        teacher = self.teacher
        members = teacher.members if isinstance(teacher, JointRoadTeacher) else (teacher,)
        is_hoser = any(isinstance(member, HOSERRoadTeacher) for member in members)
        return {"hoser_drives": HOSER_DRIVES} if is_hoser else {}

    def teacher_drives(self, folder: Path, made: int = 0) -> ReplayedTrips | None:
        """The teacher's share of the trips, from `folder` where they are there already.

        `made` says how many times such trips were made before: other trips each time.
        """
        count = self.num_teachers
        if not count:
            return None
        key = self._key(count, made)
        return open_or_drive(
            folder, key, lambda: self._drive(self._policy(self.teacher), count, made, "t")
        )

    def student_drives(self, student: HOSER, made: int = 0) -> ReplayedTrips:
        """Trips that the student drove, with the teacher's answers for them."""
        statistics = (self.dataset.time_mean, self.dataset.time_std)
        device = next(student.parameters()).device
        policy = StudentPolicy(student, self.dataset.tables(device), statistics)
        trips = self._drive(policy, self.num_students, made, "s")
        return self._answered(trips)

    def _policy(self, teacher: RoadTeacher) -> Policy:
        if isinstance(teacher, JointRoadTeacher):
            return JointPolicy([self._policy(member) for member in teacher.members])
        if isinstance(teacher, HOSERRoadTeacher):
            statistics = (self.dataset.time_mean, self.dataset.time_std)
            features = self.dataset.tables(teacher.device)
            return StudentPolicy(teacher.model, features, statistics, teacher.tables)
        if not isinstance(teacher, LMTADRoadTeacher):
            raise UserError(f"The teacher {teacher.name} cannot drive; see distill.replay.")
        if not teacher.teacher.destination_prefix:
            raise UserError(
                "A teacher that is not told the destination would not arrive there; set "
                "distill.replay.driver to student, or train a teacher with the destination prefix."
            )
        return LMTADPolicy(teacher)

    def _drive(self, policy: Policy, count: int, made: int, driver: str) -> ReplayedTrips:
        rules = DriveRules(
            self.settings.temperature,
            detour_limit(self.dataset, self.settings.detour_quantile),
            self.settings.max_roads,
            seed=self.seed * 1009 + made * 2 + (driver == "s"),
        )
        network = self.dataset.network
        generator = np.random.default_rng([self.seed, made, ord(driver)])
        parts: list[Drives] = []
        arrived = asked = 0
        while arrived < count and asked < MOST_DRIVES * count:
            share = max(arrived / asked, 1 / MOST_DRIVES) if asked else 1.0
            wanted = min(int((count - arrived) / share * 1.05) + 16, MOST_DRIVES * count - asked)
            requests = self._requests(wanted, generator)
            if not len(requests):
                break
            parts.append(Driver(policy, network, rules).drive(requests, asked))
            asked += wanted
            arrived += len(parts[-1])
        drives = join_drives(parts)
        _report(drives, asked, "The teacher" if driver == "t" else "The student")
        return ReplayedTrips.of_drives(drives, network).first(count, network)

    def _requests(self, count: int, generator: np.random.Generator) -> Requests:
        od, dataset = self.settings.od, self.dataset
        if od == "own":
            return own_requests(dataset, count, generator)
        if od == "recombined":
            return recombined_requests(dataset, count, generator)
        if od == "teacher":
            return teachers_requests(self.teacher, dataset, count, generator)
        if self.settings.od_file is None:
            raise UserError("distill.replay.od is file; give the file in distill.replay.od_file.")
        return requests_from_file(Path(self.settings.od_file), dataset, count, generator)

    def _answered(self, trips: ReplayedTrips) -> ReplayedTrips:
        """The trips with what the teacher says about them, instead of what their driver said."""
        dataset = trips.dataset(self.dataset)
        logits = [
            self.teacher.trip_logits(dataset, part)
            for part in np.array_split(
                np.arange(len(trips)), max(1, -(-len(trips) // TRIPS_PER_ANSWER))
            )
            if len(part)
        ]
        if not logits:
            return trips
        drives = Drives(trips.road_ids, trips.lengths, trips.starts, np.concatenate(logits))
        return ReplayedTrips.of_drives(drives, self.dataset.network)

    def _key(self, count: int, made: int) -> dict[str, Any]:
        shape = {"temperature", "od", "detour_quantile", "max_roads"}
        pairs = self.settings.od_file if self.settings.od == "file" else None
        return {
            "trips": self.dataset.content_hash,
            "network": self.dataset.network.content_hash,
            "teacher": self.teacher.identity(),
            "settings": self.settings.model_dump(mode="json", include=shape),
            "pairs": sha256_of_file(pairs) if pairs and Path(pairs).is_file() else None,
            "count": count,
            "seed": self.seed,
            "made": made,
            **self.version,
        }


def _report(drives: Drives, asked: int, who: str) -> None:
    """What became of the drives."""
    lost: Counter[str] = drives.ended.copy()
    lost.pop("arrived", None)
    logger.info(
        "%s drove %d trips, of which %d are kept; dropped: %s.",
        who,
        asked,
        len(drives),
        ", ".join(f"{number} ({what})" for what, number in lost.most_common() if number) or "none",
    )
