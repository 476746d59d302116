"""Teachers by name, and where their files are expected.

`distill.ckpt` overrides the path, `distill.teacher_name` the name; without either, the name
follows from the kind of teacher and the dataset, and where there is no such file, an LM-TAD that
was exported without a city's name (`lmtad_weights.pt`) is taken. Whether a teacher fits the city
is checked when it is loaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import UserError

if TYPE_CHECKING:
    from config.schema import Config

TEACHERS_DIR = Path("teachers")
EXPORTED = TEACHERS_DIR / "lmtad_weights.pt"  # what is exported without a city in its name
SUFFIXES = {"lmtad": ".pt", "hoser": ".pth"}
KNOWN_TEACHERS = {
    f"{kind}_{city}": TEACHERS_DIR / f"{kind}_{city}{suffix}"
    for kind, suffix in SUFFIXES.items()
    for city in ("beijing", "porto", "san_francisco", "demo")
}


def teacher_name(config: Config) -> str:
    """The name in `distill.teacher_name`, else kind and dataset: `lmtad_beijing`."""
    dataset = config.dataset.lower().replace(" ", "_")
    return config.distill.teacher_name or f"{config.distill.teacher}_{dataset}"


def teacher_path(config: Config) -> Path:
    """Where the configured teacher's file is expected; it need not exist."""
    if config.distill.ckpt:
        return Path(config.distill.ckpt).expanduser()
    name = teacher_name(config)
    default = TEACHERS_DIR / f"{name}{SUFFIXES[config.distill.teacher]}"
    path = KNOWN_TEACHERS.get(name, default)
    if not config.distill.teacher_name and config.distill.teacher == "lmtad":
        path = path if path.is_file() or not EXPORTED.is_file() else EXPORTED
    if config.distill.teacher_name and name not in KNOWN_TEACHERS and not path.is_file():
        known = sorted({*KNOWN_TEACHERS, *(p.stem for p in TEACHERS_DIR.glob("*.pt*"))})
        raise UserError(
            f"distill.teacher_name is {name!r}, but there is no {path} and no such teacher is "
            f"known; known: {', '.join(known)}. Give distill.ckpt to use any other file."
        )
    return path


def teacher_paths(config: Config) -> list[Path]:
    """Where the files of the teacher and of those that teach with it are expected."""
    further = [Path(name).expanduser() for name in config.distill.further_ckpts]
    return [teacher_path(config), *further]


def require_teachers(config: Config) -> list[Path]:
    """The teacher's file and those of `distill.further_ckpts`, all of which must exist."""
    _, *further = teacher_paths(config)
    for path in further:
        if not path.is_file():
            raise UserError(
                f"distill.further_ckpts names {path}, which does not exist; leave it out, or train "
                "it with tools/train_lmtad.py and another --seed."
            )
    return [require_teacher(config), *further]


def require_teacher(config: Config) -> Path:
    """The teacher's file; a missing one is an error that says how to get it."""
    path = teacher_path(config)
    if path.is_file():
        return path
    if config.distill.teacher == "hoser":
        advice = "train one with train_with_distill.py --no-distill and a larger model"
    else:
        advice = (
            f"train one with: python -m tools.train_lmtad --data_dir {config.data_dir} "
            f"--output {path}; or export a checkpoint with tools/export_lmtad_weights.py"
        )
    others = ", ".join(sorted(str(file) for file in path.parent.glob(f"*{path.suffix}")))
    found = f" (there are {others})" if others else ""
    raise UserError(
        f"The teacher {path} does not exist{found}. Give --no-distill to train without a teacher, "
        f"or give another file as distill.ckpt, or {advice}."
    )
