"""Shows what a dataset's cache folder holds, and tidies it.

python -m tools.cache --data_dir data/demo
python -m tools.cache --data_dir data/demo --clean
"""

from __future__ import annotations

import time
from pathlib import Path

from config.arguments import example_parser
from data.cache_tidying import clean, entries
from report.tables import screen_table
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

EXAMPLES = """\
  python -m tools.cache --data_dir data/demo
  python -m tools.cache --data_dir data/demo --clean
"""


def main(argv: list[str] | None = None) -> int:
    """Lists the caches; with --clean, removes those that newer ones have replaced."""
    parser = example_parser("Shows and tidies caches.", EXAMPLES, prog="python -m tools.cache")
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument("--cache_dir", type=Path, help="default: .cache in the dataset folder")
    parser.add_argument(
        "--clean", action="store_true", help="keep the newest of each kind and split alone"
    )
    arguments = parser.parse_args(argv)
    setup_logging()
    folder = arguments.cache_dir or arguments.data_dir / ".cache"
    if not folder.is_dir():
        raise UserError(f"There is no cache folder {folder}; give it with --cache_dir.")
    if arguments.clean:
        print(f"{clean(folder) / 2**20:.1f} MiB were freed.")
    rows = [
        [
            entry.path.name,
            f"{entry.num_bytes / 2**20:.1f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
            "whole" if entry.finished else "unfinished",
        ]
        for entry in entries(folder)
    ]
    print(screen_table(rows, ["cache", "MiB", "last used", "state"]))
    return 0


if __name__ == "__main__":
    run_main(main)
