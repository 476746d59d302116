"""What a user cares about among all figures, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.reporting import format_duration

Figures = dict[str, Any]  # of one part of the benches
MACHINE = "cpu-2cores"


@dataclass(frozen=True)
class Headline:
    """A sentence made of a part's figures; what it will say where there are none yet."""

    part: str
    about: str
    says: Callable[[Figures], str]


def _student(found: Figures) -> str:
    training, memory = found["training"], found["memory"]
    return (
        f"takes {1000 * training['seconds']['ours']['step']:.0f} ms for 64 trips in a city of "
        f"{found['roads']:,} roads, {training['ratio']:.1f} times less than by the plain formulas; "
        f"trips of 512 roads need {memory['ratio']:.0f} times less memory"
    )


def _train(found: Figures) -> str:
    return (
        f"takes {found['ratio_distilled_cached']:.2f} times as long as one without a teacher, with "
        f"the teacher's answers in the cache ({found['ratio_distilled_live']:.2f} times without); "
        f"the first step comes {found['start_60k_roads_s']:.0f} s after the start with "
        f"{found['start_roads']:,.0f} roads and {found['start_trips']:,.0f} trips"
    )


def _teacher(found: Figures) -> str:
    rate = found["cache_building"]["full history"]["positions_per_second"]
    return (
        f"are made at {rate:,.0f} positions a second by a teacher of 8 layers, 768 wide, and at "
        f"{found['cache_building']['window 4']['positions_per_second']:,.0f} with the published "
        f"window of four roads"
    )


def _replay(found: Figures) -> str:
    return (
        f"are driven at {found['trips_per_s']:,.0f} requests a second, "
        f"{found['against_plain']:.1f} times as fast as encoding each prefix anew; a step with "
        f"them takes {found['step_ratio']:.2f} times one with as many real trips"
    )


def _generate(found: Figures) -> str:
    beam, best = found["beam"], found["best_first"]
    return (
        f"is {beam['trips_per_second']:.0f} trips a second by a beam of four and "
        f"{best['trips_per_second']:.0f} by best-first search, {beam['times_faster']:.0f} and "
        f"{best['times_faster']:.0f} times as fast as one trip at a time; "
        f"{beam['same_trips']:.0%} of the trips are the same"
    )


def _evaluate(found: Figures) -> str:
    return (
        f"takes {found['assess_all_s']:.1f} s for {found['num_trips']:,} trips, with intervals and "
        f"scenarios; exact distances between trips are {found['exact_speedup']:.0f} times as fast "
        "as the published loops"
    )


def _score(found: Figures) -> str:
    return (
        f"reads {found['student_positions_per_s']:,.0f} positions a second with a student and "
        f"{found['teacher_positions_per_s']:,.0f} with a teacher"
    )


def _data(found: Figures) -> str:
    return (
        f"are read from CSV at {found['csv_to_cache_trips_per_s']:,.0f} trips a second, once; then "
        f"they load at {found['cache_to_ram_trips_per_s']:,.0f} a second, and a pass over "
        f"{found['streamed_trips']:,.0f} trips needs {found['streamed_million_mib']:.0f} MiB"
    )


def _match(found: Figures) -> str:
    parts = []
    if "tracks" in found:
        mean = found["tracks"]["mean"]
        parts.append(
            f"finds {mean['1 s']['recall']:.1%} of the way with a point a second and "
            f"{mean['60 s']['recall']:.1%} with a point a minute, on {found['tracks']['tracks']} "
            "tracks with known ways"
        )
    if "points" in found:
        parts.append(f"matches {found['points']['points_per_second']:,} points a second")
    return ", and ".join(parts) or "has figures in own-city.md"


def _million(found: Figures) -> str:
    parts = [
        f"{what} in {format_duration(found[f'{what}_s'])} ({found[f'{what}_mib'] / 1024:.1f} GiB)"
        for what in ("generated", "measured", "scored")
    ]
    drawn = found["routes_per_od"] > 1
    how = f"`{found['search']}`" + (f", {found['routes_per_od']} of a pair" if drawn else "")
    return f"of a demo city, by {how}, are {', '.join(parts[:2])} and {parts[2]}"


def _gpu(found: Figures) -> str:
    steps = max(row["steps_per_s"] for row in found["training"] if row["kind"] == "distilled")
    return (
        f"trains {steps:.0f} distilled steps a second at Beijing's size, makes the answers to all "
        f"its trips in {found['cache_building']['minutes_for_beijing']:.0f} minutes and drives "
        f"{found['beam']['trips_per_s']:,.0f} trips a second"
    )


HEADLINES = (
    Headline("student", "A training step", _student),
    Headline("train", "A distilled step", _train),
    Headline("teacher", "The teacher's answers", _teacher),
    Headline("replay", "Trips that the teacher drives", _replay),
    Headline("generate", "Generation", _generate),
    Headline("evaluate", "Measuring generated trips", _evaluate),
    Headline("score", "Scoring trips", _score),
    Headline("data", "Trips", _data),
    Headline("match", "Map matching", _match),
    Headline("million", "A million trips", _million),
)
ON_A_GPU = Headline("gpu", "A GPU", _gpu)


def headline_lines(machines: dict[str, dict[str, Figures]]) -> list[str]:
    """The sentences as a list: of the CPU, and of every GPU that has been measured."""
    cpu = machines.get(MACHINE, {})
    known = [each for each in HEADLINES if each.part in cpu]
    machines_used = [cpu[each.part]["machine"] for each in known]
    lines = []
    if known:
        names = sorted({machine["processor"] for machine in machines_used})
        which = ", as each part below says" if len(names) > 1 else ""
        cores = machines_used[0]["cores"]
        lines = [f"On {cores} CPU cores ({' or '.join(names)}{which}):", ""]
    lines += [f"- **{each.about}** {each.says(cpu[each.part])}." for each in known]
    gpus = {name: found["gpu"] for name, found in machines.items() if "gpu" in found}
    lines += [f"- **{name}** {ON_A_GPU.says(found)}." for name, found in gpus.items()]
    missing = [f"{each.about.lower()} (`{each.part}`)" for each in HEADLINES if each not in known]
    if not gpus:
        missing.append("everything on a GPU (`make bench-gpu`)")
    if missing:
        lines += ["", f"Not recorded yet: {', '.join(missing)}."]
    return lines
