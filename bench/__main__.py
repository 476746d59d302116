"""`python -m bench`: runs every bench and writes `docs/benchmarks.md` from their figures.

python -m bench [--quick] [--only data student ...]
python -m bench --page        only the page, from the figures that are there

The page leads with what a user cares about, in words (`bench.headlines`); all figures follow.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from bench._common import RESULTS
from bench.headlines import headline_lines
from runtime.files import atomic_write_bytes, read_json

BENCHES = (
    "data",
    "match",
    "student",
    "teacher",
    "replay",
    "train",
    "generate",
    "evaluate",
    "score",
    "tune",
    "growth",
    "million",
)
PAGE = RESULTS.parent / "benchmarks.md"


def main() -> int:
    """Runs the benches one after the other; a failing one does not stop the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes; figures are not kept")
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES))
    parser.add_argument("--page", action="store_true", help="only write docs/benchmarks.md anew")
    options = parser.parse_args()
    if options.page:
        write_page()
        return 0
    failed = []
    for name in options.only:
        print(f"\n== {name}", flush=True)
        sys.argv = [f"bench.{name}", *(["--quick", "--no-save"] if options.quick else [])]
        try:
            importlib.import_module(f"bench.{name}").main()
        except Exception as error:
            print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr)
            failed.append(name)
    if not options.quick:
        write_page()
    print(f"\nFailed: {', '.join(failed)}." if failed else "\nAll benches ran.")
    return 1 if failed else 0


def write_page(page: Path = PAGE) -> None:
    """Writes `docs/benchmarks.md` from every machine's figures."""
    files = sorted(RESULTS.glob("*.json"))
    machines = {path.stem: dict(read_json(path)) for path in files}
    lines = [
        "# Figures",
        "",
        "Written by `python -m bench` from `docs/benchmarks/*.json`; do not edit by hand.",
        "Ratios are measured in one run; times are medians of repeated runs.",
        "",
        *headline_lines(machines),
    ]
    for name, results in machines.items():
        lines += ["", f"## {name}", *_machine_lines(results)]
    atomic_write_bytes(page, ("\n".join(lines) + "\n").encode())
    print(f"Written {page.name}.")


def _machine_lines(parts: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for name, results in parts.items():
        machine = results.get("machine", {})
        where = ", ".join(
            str(machine[key]) for key in ("processor", "gpu", "cores") if machine.get(key)
        )
        with_what = f"torch {machine.get('torch')}, Python {machine.get('python')}"
        lines += ["", f"### {name}", "", f"{where} cores, {with_what}, {machine.get('date')}"]
        figures = _flat(results)
        lines += ["", "| figure | value |", "|---|---|"] if figures else []
        lines += [f"| {key} | {value} |" for key, value in figures]
        for key, value in results.items():
            if _is_table(value):
                lines += ["", *_table(key, value)]
    return lines


def _is_table(value: Any) -> bool:
    """Whether a figure is a list of rows with the same columns."""
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


def _table(name: str, rows: list[dict[str, Any]]) -> list[str]:
    """Rows as a table, the growth of something."""
    lines = [f"By {name}:", "", f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    return lines + [f"| {' | '.join(map(_text, row.values()))} |" for row in rows]


def _text(value: Any) -> str:
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) >= 1000
        return f"{value:,.0f}" if whole else f"{value:,.4g}"
    return str(value)


def _flat(results: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in results.items():
        if key == "machine" or _is_table(value):
            continue
        if isinstance(value, dict):
            rows += _flat(value, f"{prefix}{key} / ")
        elif isinstance(value, list):
            rows += _flat(dict(enumerate(value)), f"{prefix}{key} / ")  # type: ignore[arg-type]
        else:
            rows.append((f"{prefix}{key}", _text(value)))
    return rows


if __name__ == "__main__":
    sys.exit(main())
