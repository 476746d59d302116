"""What the benches share: repeated timings, the machine's description, tables and JSON files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from runtime.files import write_json

RESULTS = Path(__file__).parent.parent / "docs" / "benchmarks"


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs."""

    seconds: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """Half the range, relative to the median."""
        return (max(self.seconds) - min(self.seconds)) / 2 / self.median


def timed(function: Callable[[], Any], repeats: int = 5, warm_up: int = 1) -> Timing:
    """Runs `function` several times; the device is synchronised around each."""
    for _ in range(warm_up):
        function()
    seconds = []
    for _ in range(repeats):
        _synchronize()
        start = time.perf_counter()
        function()
        _synchronize()
        seconds.append(time.perf_counter() - start)
    return Timing(seconds)


def timed_alternately(
    functions: dict[str, Callable[[], Any]], repeats: int = 5, warm_up: int = 1
) -> dict[str, Timing]:
    """Times several functions in turns, so that a noisy machine is noisy for all of them."""
    for function in functions.values():
        for _ in range(warm_up):
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            seconds[name].extend(timed(function, repeats=1, warm_up=0).seconds)
    return {name: Timing(values) for name, values in seconds.items()}


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> dict[str, Any]:
    """Where and with what the figures were measured."""
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "name": machine_name(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }


def machine_name() -> str:
    """A short name for the kind of machine: `cpu-2cores` or the GPU's name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0).lower().replace(" ", "-")
    return f"cpu-{os.cpu_count()}cores"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints aligned columns."""
    cells = [[str(cell) for cell in row] for row in [list(header), *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for index, row in enumerate(cells):
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)))
        if index == 0:
            print("  " + "  ".join("-" * width for width in widths))


def save(name: str, results: dict[str, Any]) -> Path:
    """Adds a bench's results to `docs/benchmarks/<machine>.json`, replacing its earlier ones."""
    path = RESULTS / f"{machine_name()}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    known[name] = {"machine": machine(), **results}
    write_json(path, known)
    print(f"\nWritten to {path.relative_to(RESULTS.parent.parent)}.")
    return path


def grow_city(folder: Path, wanted: int) -> None:
    """Brings a city to exactly `wanted` roads with a shifted copy of its first ones."""
    lines = (folder / "roadmap.geo").read_text().splitlines()
    roads = len(lines) - 1
    copies = [f"{roads + i},{line.split(',', 1)[1]}" for i, line in enumerate(lines[1:])]
    (folder / "roadmap.geo").write_text("\n".join(lines + copies[: wanted - roads]) + "\n")


def parser(description: str) -> argparse.ArgumentParser:
    """A bench's arguments: `--quick` for a try, `--no-save` to leave the figures alone."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--quick", action="store_true", help="small sizes, for a try")
    result.add_argument("--no-save", action="store_true", help="print only")
    return result
