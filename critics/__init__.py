"""The teacher's side of distillation: who teaches, what is compared, and how it is weighted."""

from critics.distill_hook import DistillationManager, DistillTargets
from critics.grid_mapper import GridMapper
from critics.lmtad_teacher import LMTADTeacher
from critics.terms import DistillOutput

__all__ = [
    "DistillOutput",
    "DistillTargets",
    "DistillationManager",
    "GridMapper",
    "LMTADTeacher",
]
