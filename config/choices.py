"""The choices that settings offer by name, once for the schema and for whoever acts on them."""

from __future__ import annotations

from typing import Literal

# Data
OnBadRows = Literal["error", "skip"]
AngleConvention = Literal["hoser", "geographic"]
DtwKind = Literal["fastdtw", "exact"]

# Teachers
TeacherKind = Literal["lmtad", "hoser"]
TeacherDtype = Literal["auto", "float32", "float16", "bfloat16"]
Vocabulary = Literal["grid", "road"]
Window = int | Literal["full"]

# Distillation
LossKind = Literal["forward_kl", "reverse_kl", "jensen_shannon"]
Combination = Literal["additive", "convex"]
Positions = int | Literal["all", "last"]
Ties = Literal["replicate", "marginal"]
ScheduleKind = Literal["constant", "linear", "exponential", "cosine"]

Driver = Literal["teacher", "student", "both"]
FirstEmbeddings = Literal["random", "teacher"]
Pairs = Literal["recombined", "own", "file", "teacher"]
PresetName = Literal["default", "curriculum", "gazelle", "fast"]

# Training and tuning
AmpChoice = Literal["auto", "off", "float16", "bfloat16"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune"]
Objective = Literal["accuracy", "throughput", "latency"]
