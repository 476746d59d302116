"""Training an LM-TAD on a dataset's own trips, so that nobody depends on a foreign checkpoint.

Writes the weights-only file of `critics.weights`. Distillation itself is elsewhere; so is the
measurement of what came out (`critics.teacher_report`).
"""

from critics.teacher_training.options import TeacherLoss, TeacherOptions
from critics.teacher_training.run import refuse_finished, train_teacher

__all__ = ["TeacherLoss", "TeacherOptions", "refuse_finished", "train_teacher"]
