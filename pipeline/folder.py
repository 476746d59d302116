"""An evaluation folder: models, a configuration, and the programs as links, to be run in it.

The pipeline needs no more of a folder than models; this is for those who work inside one.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from config.finding import SHIPPED_EVALUATION
from runtime.errors import UserError
from runtime.files import atomic_write_bytes

PROGRAMS = ("python_pipeline.py", "run_gene_eval_pipeline.sh", "run_all_seeds.sh")
_HOME = Path(__file__).parent.parent


def make_evaluation_folder(folder: Path, dataset: str, data_dir: Path) -> None:
    """Makes what `folder` lacks; its configuration, where there is one, is left as it is."""
    config = folder / "config" / "evaluation.yaml"
    try:
        (folder / "models").mkdir(parents=True, exist_ok=True)
        config.parent.mkdir(exist_ok=True)
        for name in PROGRAMS:
            program, link = _HOME / name, folder / name
            if program.is_file() and not link.exists():
                link.unlink(missing_ok=True)  # a link that leads nowhere
                link.symlink_to(os.path.relpath(program, folder.resolve()))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}.") from error
    if not config.exists():
        relative = os.path.relpath(data_dir.resolve(), folder.resolve())
        atomic_write_bytes(config, _settings(dataset, relative).encode())


def _settings(dataset: str, data_dir: str) -> str:
    """The shipped settings, for this dataset."""
    text = SHIPPED_EVALUATION.read_text(encoding="utf-8")
    for key, value in (("dataset", dataset), ("data_dir", data_dir)):
        line = f"{key}: {json.dumps(value)}".replace("\\", r"\\")
        text = re.sub(rf"^{key}: .*$", line, text, flags=re.MULTILINE)
    return text.replace("config/evaluation.yaml\n", "config/evaluation.yaml (in this folder)\n", 1)
