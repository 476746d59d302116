"""Streets as lines that are not OpenStreetMap's: GeoJSON, GeoParquet, shapefiles and the like.

Lines meet where they share a point, or, where columns name the nodes at their ends, there only.
Reading the files is `data.osm.line_files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.osm.line_files import LineTable, read_line_table
from data.osm.streets import IntArray, KindTable, Ways
from data.osm.tags import CLASS_DEFAULTS, TagReader
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("osm")

# Names of columns that are looked for, in any case, where none is given.
USUAL_COLUMNS: dict[str, tuple[str, ...]] = {
    "highway": ("highway", "fclass", "class", "road_class", "roadclass", "func_class", "type"),
    "oneway": ("oneway", "one_way", "onewaydir", "dir_travel"),
    "maxspeed": ("maxspeed", "max_speed", "speed_limit", "speedlimit", "speed"),
    "lanes": ("lanes", "num_lanes", "numlanes"),
    "name": ("name", "streetname", "street_name", "fullname", "street"),
    "bridge": ("bridge",),
    "tunnel": ("tunnel",),
    "from": ("from_node", "fromnode", "from_id", "fnode", "f_node", "start_node", "u", "source"),
    "to": ("to_node", "tonode", "to_id", "tnode", "t_node", "end_node", "v", "target"),
}
_UNITS_PER_DEGREE = 1e7


@dataclass(frozen=True)
class LineOptions:
    """How to read the columns of a file of lines."""

    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column
    classes: Mapping[str, str] = field(default_factory=dict)  # value -> class of street
    speeds_in_mph: bool = False
    attribution: str = ""

    def check(self) -> None:
        """Raises `UserError` for roles and classes that do not exist."""
        for role in self.columns:
            if role not in USUAL_COLUMNS:
                raise UserError(
                    f"--columns names {role[:40]!r}; allowed: {', '.join(USUAL_COLUMNS)}."
                )
        for name in self.classes.values():
            if name not in CLASS_DEFAULTS:
                raise UserError(
                    f"--classes names {name[:40]!r}; allowed: {', '.join(CLASS_DEFAULTS)}."
                )


def read_lines(path: Path, reader: TagReader, options: LineOptions) -> Ways:
    """The streets of a file of lines."""
    options.check()
    table = read_line_table(path)
    columns = _columns(path, table, options)
    kinds = KindTable()
    kept, kind, name, against = [], [], [], []
    for line, row in enumerate(table.row.tolist()):
        tags = _tags({role: values[row] for role, values in columns.items()}, options)
        if tags is None:
            reader.findings.left_out["of a class that --classes does not list"] += 1
            continue
        street = reader.street(tags)
        if street is None:
            continue
        kept.append(line)
        kind.append(kinds.kind(street[0]))
        name.append(kinds.name(tags.get("name", "")))
        against.append(street[1])
    if not kept:
        raise UserError(f"{path} has no line that is a street; lines in degrees are expected.")
    table = table.take(np.array(kept), np.array(against, dtype=bool))
    ends = _end_nodes(path, table, columns, np.array(against, dtype=bool))
    return Ways(
        kinds=list(kinds.kinds),
        way_id=table.row + 1,
        kind=np.array(kind, dtype=np.int64),
        name=np.array(name, dtype=np.int64),
        offsets=table.offsets,
        node=_shared_points(table) if ends is None else _nodes_at_ends(table, ends),
        lon=table.lon,
        lat=table.lat,
        barriers=np.empty(0, dtype=np.int64),
        restrictions=[],
        findings=reader.findings,
        ends_only=ends is not None,
        attribution=options.attribution,
    )


def _columns(path: Path, table: LineTable, options: LineOptions) -> dict[str, list[str]]:
    """The values of each role that the file has a column for."""
    by_name = {name.lower(): name for name in table.columns}
    found = {}
    for role, usual in USUAL_COLUMNS.items():
        wanted = options.columns.get(role)
        if wanted is not None and wanted not in table.columns:
            raise UserError(
                f"{path} has no column {wanted[:40]!r}; found "
                f"{', '.join(table.columns)[:200] or 'none'}."
            )
        name = wanted or next((by_name[each] for each in usual if each in by_name), None)
        if name is not None:
            found[role] = name
    if found:
        pairs = ", ".join(f"{role} = {name}" for role, name in found.items())
        logger.info("Columns taken from %s: %s.", path, pairs)
    return {role: table.columns[name] for role, name in found.items()}


def _tags(values: dict[str, str], options: LineOptions) -> dict[str, str] | None:
    """The line's values as OpenStreetMap would tag them."""
    highway = values.get("highway", "").strip()
    if options.classes:
        if highway not in options.classes:
            return None
        highway = options.classes[highway]
    speed = values.get("maxspeed", "").strip()
    if options.speeds_in_mph and speed.replace(".", "", 1).isdigit():
        speed += " mph"
    tags = {
        "highway": highway or "road",
        # A line without a word on its direction is driven both ways, whatever its class.
        "oneway": values.get("oneway", "").strip() or "no",
        "maxspeed": "" if speed.startswith("0") else speed,
        **{role: values.get(role, "") for role in ("lanes", "name", "bridge", "tunnel")},
    }
    return {key: value for key, value in tags.items() if value}


def _shared_points(table: LineTable) -> IntArray:
    """The number of each vertex's place, to 1e-7 degrees."""
    places = np.stack([table.lon, table.lat], axis=1)
    units = np.rint(np.nan_to_num(places) * _UNITS_PER_DEGREE).astype(np.int64)
    packed = units[:, 0] * (1 << 32) + units[:, 1]
    return np.unique(packed, return_inverse=True)[1].reshape(-1).astype(np.int64) + 1


def _end_nodes(
    path: Path, table: LineTable, columns: dict[str, list[str]], against: np.ndarray
) -> IntArray | None:
    """The nodes at the first and last vertex of each line; None where the file has none. [L, 2]"""
    if not ("from" in columns and "to" in columns):
        return None
    rows = table.row.tolist()
    names = [[columns[role][row].strip() for row in rows] for role in ("from", "to")]
    if not all(names[0]) or not all(names[1]) or len(set(rows)) < len(rows):
        logger.warning(
            "%s has lines without nodes at their ends, or of several parts; lines meet where they "
            "share a point.",
            path,
        )
        return None
    flat = names[0] + names[1]
    if all(text.isascii() and text.isdigit() and len(text) < 18 for text in flat):
        numbers = np.array([int(text) for text in flat], dtype=np.int64)
    else:
        numbers = np.unique(np.array(flat, dtype=object), return_inverse=True)[1].reshape(-1) + 1
    ends = numbers.reshape(2, -1).T.astype(np.int64)
    return np.where(against[:, None], ends[:, ::-1], ends)


def _nodes_at_ends(table: LineTable, ends: IntArray) -> IntArray:
    """The nodes of the ends; every vertex between them is a node of its own."""
    node = -1 - np.arange(len(table.lon))
    node[table.offsets[:-1]] = ends[:, 0]
    node[table.offsets[1:] - 1] = ends[:, 1]
    return node
