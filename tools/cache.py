"""Shows what a dataset's cache folders hold, and tidies them.

python -m tools.cache --data_dir data/demo
python -m tools.cache --data_dir data/demo --clean
python -m tools.cache --data_dir data/demo --config my.yaml --clean
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from config import load_config
from config.arguments import example_parser
from data.cache_tidying import clean, entries
from data.match.work_folder import remove_work, unfinished_work
from report.tables import screen_table
from runtime.errors import UserError, run_main
from runtime.logs import setup_logging

EXAMPLES = """\
  python -m tools.cache --data_dir data/demo
  python -m tools.cache --data_dir data/demo --config my.yaml --clean
"""


def _folders(data_dir: Path, config: Path | None, cache_dirs: list[Path]) -> Iterator[Path]:
    """Every folder once that holds caches of the dataset, as far as it is named."""
    named = [data_dir / ".cache", *cache_dirs]
    if config is not None:
        settings = load_config(config)
        chosen = (settings.data.cache_dir, settings.distill.cache_dir)
        named += [Path(folder).expanduser() for folder in chosen if folder]
    for folder in cache_dirs:
        if not folder.is_dir():
            raise UserError(f"There is no cache folder {folder}.")
    seen: set[Path] = set()
    for folder in named:
        if folder.is_dir() and folder.resolve() not in seen:
            seen.add(folder.resolve())
            yield folder


def main(argv: list[str] | None = None) -> int:
    """Lists the caches; with --clean, removes those that newer ones have replaced."""
    parser = example_parser("Shows and tidies caches.", EXAMPLES, prog="python -m tools.cache")
    parser.add_argument("--data_dir", type=Path, required=True, help="the dataset folder")
    parser.add_argument(
        "--cache_dir", type=Path, nargs="+", default=[], help="further folders with caches"
    )
    parser.add_argument("--config", type=Path, help="look into the cache folders it names, too")
    parser.add_argument(
        "--clean",
        action="store_true",
        help="keep the newest of each kind and split alone, and no unfinished work",
    )
    arguments = parser.parse_args(argv)
    setup_logging()
    folders = list(_folders(arguments.data_dir, arguments.config, arguments.cache_dir))
    work = unfinished_work(arguments.data_dir)
    if not folders and work is None:
        raise UserError(
            f"There is no cache folder {arguments.data_dir / '.cache'}; name others with "
            "--cache_dir or --config."
        )
    if arguments.clean:
        freed = sum(map(clean, folders)) + remove_work(arguments.data_dir)
        print(f"{freed / 2**20:.1f} MiB were freed.")
        work = unfinished_work(arguments.data_dir)
    rows = [
        [
            str(entry.path.relative_to(folder) if len(folders) == 1 else entry.path),
            f"{entry.num_bytes / 2**20:.1f}",
            time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used)),
            "whole" if entry.finished else "unfinished",
        ]
        for folder in folders
        for entry in entries(folder)
    ]
    if work is not None:
        rows.append([str(work.path), f"{work.num_bytes / 2**20:.1f}", "", "unfinished matching"])
    print(screen_table(rows, ["cache", "MiB", "last used", "state"]))
    return 0


if __name__ == "__main__":
    run_main(main)
