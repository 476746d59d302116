"""Pictures for papers: distributions, intervals, learning curves and maps, as PNG, SVG or PDF.

Drawn with matplotlib on its own canvas: no window, no global state, nothing imported until a
picture is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metrics.comparison import Comparison
from metrics.measures import MEASURES, PLOTTED, QUANTITIES
from report.payload import Run
from runtime.files import replace_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
MAX_LABEL = 28
INK, MUTED, REAL = "#1c2733", "#8a949e", "#3b4650"
BETTER, WORSE = "#12855f", "#c2334a"
MODEL_COLOURS = ["#d9660a", "#1f6fd1", "#12855f", "#9b3fb0", "#c2334a", "#6a760c", "#0b829e"]
BINS_JOINED = 3  # of the 99 closed bins, so that the shape can be seen
CURVES = {
    "train_loss": "Training loss",
    "val_next_step_acc": "Next-step accuracy",
    "val_time_pred_mape": "Travel-time MAPE",
    "val_kl": "KL to the teacher",
}


def write_plots(folder: Path, runs: Sequence[Run], formats: Sequence[str] = ("png",)) -> list[Path]:
    """Writes every picture the runs have data for; returns the files."""
    written: list[Path] = []
    for source in dict.fromkeys(run.od_source for run in runs):
        of_source = [run for run in runs if run.od_source == source]
        for name, figure in (
            ("distributions", _distributions(of_source)),
            ("measures", _measures(of_source)),
            ("map", _map(of_source)),
        ):
            written += _save(figure, folder / f"{name}_{_file_name(source)}", formats)
    curves = _learning_curves(runs)
    if curves is not None:
        written += _save(curves, folder / "learning_curves", formats)
    return written


def write_comparison_plot(path: Path, comparisons: Sequence[Comparison]) -> None:
    """Draws the relative change of every compared measure, with its stars."""
    drawn = [comparison for comparison in comparisons if comparison.rows]
    figure = _figure(8, 1.2 + sum(0.55 + 0.32 * len(each.rows) for each in drawn))
    heights = [max(len(each.rows), 1) for each in drawn] or [1]
    axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    if not drawn:
        axes[0].text(0.5, 0.5, "No two models have an OD pair in common", ha="center")
        axes[0].set_axis_off()
    for axis, comparison in zip(axes, drawn):
        change = [100 * (row.relative_difference or 0.0) for row in comparison.rows]
        position = np.arange(len(change))[::-1]
        better = [BETTER if value < 0 else WORSE for value in change]
        axis.barh(position, change, color=better, height=0.62)
        labels = [
            f"{_plain(row.first)} → {_plain(row.second)}   {MEASURES[row.measure].heading}"
            for row in comparison.rows
        ]
        axis.set_yticks(position, labels, fontsize=8)
        for place, value, row in zip(position, change, comparison.rows):
            side = "left" if value >= 0 else "right"
            axis.annotate(
                f" {value:+.1f} % {row.mark} ", (value, place), ha=side, va="center", fontsize=7.5
            )
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.margins(x=0.25)
        axis.set_title(f"OD pairs of {comparison.od_source}", fontsize=10, loc="left")
        axis.set_xlabel("change from the first model to the second (%), less is better", fontsize=8)
        _clean(axis)
    _save(figure, path.with_suffix(""), ["png"])


def _distributions(runs: Sequence[Run]) -> Figure:
    shown = [quantity for quantity in QUANTITIES if quantity.plotted]
    figure, axes = _grid(len(shown), 3.4)
    for axis, quantity in zip(axes, shown):
        name = quantity.name
        for k, run in enumerate(runs):
            found = run.assessment.distributions.get(name)
            if found is None:
                continue
            edges = np.array(found.edges)[::BINS_JOINED]
            if k == 0:
                axis.stairs(_share(found.real), edges, fill=True, color=REAL, alpha=0.22)
                axis.stairs(_share(found.real), edges, color=REAL, linewidth=1.0, label="real")
            divergence = run.assessment.overall.values.get(f"{name}_jsd")
            label = _plain(run.assessment.name)
            floor = run.assessment.overall.values.get(f"{name}_jsd_floor")
            beside = "" if floor is None else f", floor {floor:.4f}"
            # Below the name: beside a long one the legend would leave no room for the axes.
            label += "" if divergence is None else f"\nJSD {divergence:.4f}{beside}"
            axis.stairs(
                _share(found.generated),
                edges,
                color=MODEL_COLOURS[k % len(MODEL_COLOURS)],
                linewidth=1.3,
                label=label,
            )
        axis.set_title(quantity.title, fontsize=10, loc="left")
        axis.set_xlabel(quantity.unit, fontsize=9)
        axis.set_ylabel("share of values (%)" if axis is axes[0] else "", fontsize=9)
        axis.legend(fontsize=7.5, frameon=False)
        _clean(axis)
    return figure


def _share(counts: Sequence[int]) -> np.ndarray:
    """Percent per drawn bin, without the open bin."""
    values = np.array(counts, dtype=np.float64)
    return 100 * values[:-1].reshape(-1, BINS_JOINED).sum(axis=1) / max(values.sum(), 1.0)


def _measures(runs: Sequence[Run]) -> Figure:
    figure, axes = _grid(len(PLOTTED), 1.55 + 0.25 * len(runs))
    for axis, measure in zip(axes, PLOTTED):
        for k, run in enumerate(runs):
            value = run.assessment.overall.values.get(measure.name)
            if value is None:
                continue
            interval = run.assessment.overall.intervals.get(measure.name)
            colour = MODEL_COLOURS[k % len(MODEL_COLOURS)]
            if interval is not None:
                axis.plot([interval.low, interval.high], [-k, -k], color=colour, linewidth=2.2)
            axis.plot([value], [-k], "o", color=colour, markersize=6)
            floor = run.assessment.overall.values.get(measure.floor)
            if floor is not None:
                axis.plot([floor], [-k], "|", color=INK, markersize=12)
        names = [_plain(run.assessment.name) for run in runs]
        axis.set_yticks([-k for k in range(len(runs))], names, fontsize=8)
        axis.set_ylim(-len(runs) + 0.5, 0.5)
        axis.set_title(measure.heading, fontsize=9.5, loc="left")
        axis.margins(x=0.15)
        _clean(axis)
    return figure


def _map(runs: Sequence[Run]) -> Figure:
    """Traffic of the real trips and of each model's, side by side."""
    from matplotlib.collections import LineCollection

    network = runs[0].assessment.reference.network
    vertices = np.stack([network.vertex_lon, network.vertex_lat], axis=1)
    lines = np.split(vertices, network.vertex_offsets[1:-1])
    real = runs[0].assessment.reference.trips
    traffic = np.bincount(real.road_ids, minlength=network.num_roads)
    panels: list[tuple[str, Any, int, str]] = [("real", traffic, len(real), REAL)]
    for k, run in enumerate(runs):
        colour = MODEL_COLOURS[k % len(MODEL_COLOURS)]
        found = run.assessment
        panels.append((found.name, found.traffic, found.num_trips, colour))
    figure = _figure(4.2 * len(panels), 4.4)
    aspect = 1.0 / np.cos(np.radians(network.center_lat.mean()))
    for axis, (name, traffic, num_trips, colour) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels
    ):
        width = 4.0 * np.sqrt(traffic / max(traffic.max(), 1))
        axis.add_collection(LineCollection(lines, colors="#d7dce1", linewidths=0.4))
        used = np.flatnonzero(traffic)
        axis.add_collection(
            LineCollection([lines[i] for i in used], colors=colour, linewidths=width[used])
        )
        axis.autoscale()
        axis.set_aspect(aspect)
        axis.set_axis_off()
        axis.set_title(f"{_plain(name)}: {num_trips:,} trips", fontsize=10)
    return figure


def _learning_curves(runs: Sequence[Run]) -> Figure | None:
    curves = {curve.name: curve for run in runs for curve in run.curves}
    present = [
        name for name in CURVES if any(name in row for c in curves.values() for row in c.epochs)
    ]
    if not present:
        return None
    figure = _figure(3.6 * len(present), 3.1)
    for axis, name in zip(figure.subplots(1, len(present), squeeze=False)[0], present):
        for k, curve in enumerate(curves.values()):
            points = [
                (row.get("epoch", i), row[name])
                for i, row in enumerate(curve.epochs)
                if name in row
            ]
            if points:
                colour = MODEL_COLOURS[k % len(MODEL_COLOURS)]
                axis.plot(*zip(*points), "-o", color=colour, markersize=3, label=_plain(curve.name))
        axis.set_title(CURVES[name], fontsize=10, loc="left")
        axis.set_xlabel("epoch", fontsize=9)
        axis.legend(fontsize=7.5, frameon=False)
        _clean(axis)
    return figure


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _grid(count: int, row_height: float) -> tuple[Figure, list[Any]]:
    """A figure with three axes a row, and as many of them as are needed."""
    rows = -(-count // 3)
    figure = _figure(11, row_height * rows)
    axes = figure.subplots(rows, 3, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def _clean(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(MUTED)
    axis.tick_params(labelsize=8, colors=INK)
    axis.grid(axis="x", color="#e7eaed", linewidth=0.6)
    axis.set_axisbelow(True)


def _plain(text: str) -> str:
    """Text that fits a label and that matplotlib does not read as a formula."""
    return (text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…").replace("$", r"\$")


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip(".") or "plot"


def _save(figure: Figure, stem: Path, formats: Sequence[str]) -> list[Path]:
    """Writes the figure beside `stem`, once for each format."""
    written = []
    for kind in formats:
        path = stem.with_name(f"{stem.name}.{kind}")
        with replace_atomically(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format=kind)
        written.append(path)
    return written
