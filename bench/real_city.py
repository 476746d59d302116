"""The whole study on a city's real trips: teachers, students, drives, uses, and what is left open.

    python -m bench.real_city --data_dir DIR --out real_city [--dry_run]
    python -m bench.real_city --data_dir DIR --out real_city --page

`DIR` is in HOSER's format and stays as it is. The plan is printed first. Every step is done once:
killed and started again with the same arguments, the study goes on where it was. Started several
times, also on machines that share `--out`, the processes divide the steps. With other sizes,
kinds or seeds it does what is missing. `--page` writes what has been found into
`docs/real-city.md` and `docs/real-city.json`, in place of what stood there of these sizes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from bench._common import RESULTS, print_table
from bench.city_study.page import write_page
from bench.city_study.planning import Plan
from bench.city_study.settings import KINDS, SEARCHES, StudySettings
from bench.city_study.steps import Forecast, StudyStopped, carry_out
from bench.city_study.study import Study
from bench.city_study.summary import recorded, summarize
from runtime.errors import UserError, run_main
from runtime.files import FolderLock, read_json, write_json
from runtime.logs import setup_logging
from training.reporting import format_duration

PAGE = RESULTS.parent / "real-city.md"


def main(argv: list[str] | None = None) -> int:
    """Does what the command line asks for; 1 where a step has failed."""
    options = _parse(argv)
    setup_logging("WARNING")
    torch.set_num_threads(options.threads)
    study = Study(_settings(options))
    with FolderLock(study.settings.out, wait=True):
        study.prepare()
    steps = Plan(study).steps()
    forecast = Forecast.of(study.diary, steps)
    _print_plan(forecast, len(steps))
    if options.dry_run:
        return 0
    try:
        failed = [] if options.page else carry_out(study.diary, steps)
    except StudyStopped:
        print("Stopped by a signal; started again, the study goes on here.")
        return 130
    finally:
        found, summary = summarize(study, steps), study.settings.out / "summary.json"
        write_json(summary, found)
    if options.page:
        record = PAGE.with_suffix(".json")
        write_json(record, recorded(found, read_json(record) if record.exists() else None))
        write_page(record, PAGE)
        print(f"Written to {PAGE.name}.")
    print(f"\nWhat was found is in {summary}.")
    return 1 if failed else 0


def _settings(options: argparse.Namespace) -> StudySettings:
    settings = StudySettings(
        data_dir=options.data_dir,
        out=options.out,
        sizes=tuple(_size(text) for text in options.sizes),
        kinds=tuple(options.kinds),
        searches=tuple(options.searches),
        teacher=tuple(options.teacher),
        device=options.device,
        **{name: getattr(options, name) for name in _COUNTS},
    )
    return settings.quick() if options.quick else settings


def _size(text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--sizes {text!r}: give numbers of training trips, or all.")
    return int(text)


def _print_plan(forecast: Forecast, num_steps: int) -> None:
    kinds: dict[str, list[float]] = {}
    for name, seconds in forecast.missing.items():
        kinds.setdefault(name.partition("/")[0], []).append(seconds)
    rows = [[name, len(each), format_duration(sum(each))] for name, each in kinds.items()]
    rows.append(["all", len(forecast.missing), format_duration(sum(forecast.missing.values()))])
    done = len(forecast.done)
    print_table(f"Steps to do; {done} of {num_steps} are done", ["", "steps", "about"], rows)


_COUNTS = {
    "seeds": "training seeds",
    "plain_seeds": "of these, with the plain formulas as well, which are slow",
    "num_generated": "trips of each student and search",
    "val_trips": "validation trips, evenly spread ones",
    "scored_trips": "test trips that are scored",
    "trips_seen": "by each student in its training",
    "num_teachers": "trained to teach together",
    "teacher_epochs": "of each teacher's training",
    "num_zones": "zones of the city",
    "resamples": "for the intervals of the trips' measures",
}


def _parse(argv: list[str] | None) -> argparse.Namespace:
    whole = StudySettings(Path(), Path())
    parser = argparse.ArgumentParser(
        prog="python -m bench.real_city", description=(__doc__ or "").split("\n")[0]
    )
    add = parser.add_argument
    add("--data_dir", type=Path, required=True, help="a folder in HOSER's format")
    add("--out", type=Path, default=Path("real_city"), help="where everything is kept")
    sizes = ["all" if size is None else str(size) for size in whole.sizes]
    add("--sizes", nargs="+", default=sizes, metavar="N", help="training trips, or all")
    add("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    add("--searches", nargs="+", choices=SEARCHES, default=list(SEARCHES))
    text = "those that are there already, instead of training any; several teach together"
    add("--teacher", type=Path, nargs="+", default=[], metavar="FILE", help=text)
    for name, text in _COUNTS.items():
        default = getattr(whole, name)
        add(f"--{name}", type=int, default=default, help=f"{text} (default: {default})")
    add("--device", default="cpu", help="cpu or cuda:N")
    add("--threads", type=int, default=torch.get_num_threads(), help="of each operation")
    add("--quick", action="store_true", help="next to nothing, to see that it runs")
    add("--dry_run", action="store_true", help="print the plan alone")
    add("--page", action="store_true", help="write the page from what is there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    run_main(lambda: sys.exit(main()))
