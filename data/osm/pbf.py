"""Reading OpenStreetMap files (.osm.pbf, .osm, .osm.bz2, ...) as a stream, by pyosmium.

Nodes, ways and relations come in this order, as in every published extract. Tags are filtered
and places of nodes kept inside pyosmium; Python sees the streets only.
"""

from __future__ import annotations

import contextlib
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.osm.restrictions import parse_restriction
from data.osm.streets import KindTable, Restriction, Ways
from data.osm.tags import TagReader
from runtime.errors import UserError
from runtime.logs import get_logger

logger = get_logger("osm")

ATTRIBUTION = (
    "© OpenStreetMap contributors (https://www.openstreetmap.org/copyright), "
    "Open Database License 1.0"
)
# An index in memory takes 16 bytes a node, and a node about 8 in a PBF; beyond this it is a file.
MEMORY_INDEX_MAX_BYTES = 1 << 30
_UNKNOWN_PLACE = 2**31 - 1
_UNITS_PER_DEGREE = 1e7


def read_osm(path: Path, reader: TagReader, scratch: Path | None = None) -> Ways:
    """The streets of a file. `scratch` is where a large file's index of nodes may lie."""
    check_file(path)
    collector = _Collector(reader)
    with _node_index(path, scratch) as index:
        try:
            for entity in _entities(path, reader, index):
                collector.add(entity)
        except (RuntimeError, ValueError, OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} is no readable OpenStreetMap file ({error}); .osm.pbf, .osm, .osm.bz2 "
                "and .osm.gz are read. An incomplete download is the usual cause."
            ) from error
    return collector.ways(path)


def check_file(path: Path) -> None:
    """Raises `UserError` where there is no file with something in it."""
    try:
        if not path.is_file():
            raise UserError(f"{path} does not exist, or is not a file.")
        if path.stat().st_size == 0:
            raise UserError(f"{path} is empty.")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}.") from error


@contextlib.contextmanager
def _node_index(path: Path, scratch: Path | None) -> Iterator[str]:
    """The index of nodes' places for a file of this size, as pyosmium names it."""
    if path.stat().st_size <= MEMORY_INDEX_MAX_BYTES:
        yield "flex_mem"
        return
    try:
        with tempfile.TemporaryDirectory(prefix=".osm_nodes.", dir=scratch) as folder:
            logger.info("%s is large; the places of its nodes go into a file in %s.", path, folder)
            yield f"sparse_file_array,{folder}/nodes"
    except OSError as error:
        raise UserError(f"{scratch} cannot be written: {error.strerror or error}.") from error


def _entities(path: Path, reader: TagReader, index: str) -> Iterator[Any]:
    try:
        import osmium
    except ImportError as error:
        raise UserError(
            'OpenStreetMap files need the package osmium: pip install "hoser-distil[osm]".'
        ) from error
    wanted = [("highway", name) for name in reader.classes]
    if reader.network == "all":
        wanted.append(("route", "ferry"))
    barriers = osmium.filter.KeyFilter("barrier")
    barriers.enable_for(osmium.osm.NODE)
    streets = osmium.filter.TagFilter(*wanted)
    streets.enable_for(osmium.osm.WAY)
    restrictions = osmium.filter.TagFilter(("type", "restriction"))
    restrictions.enable_for(osmium.osm.RELATION)
    stream = osmium.FileProcessor(str(path)).with_locations(index)
    return iter(stream.with_filter(barriers).with_filter(streets).with_filter(restrictions))


class _Collector:
    """Takes what the stream brings and keeps it packed: some 16 bytes a node of a street."""

    def __init__(self, reader: TagReader) -> None:
        self.reader = reader
        self.table = KindTable()
        self.way_id, self.kind, self.name = array("q"), array("q"), array("q")
        self.against = array("b")
        self.count = array("q")
        self.node, self.x, self.y = array("q"), array("i"), array("i")
        self.barriers = array("q")
        self.restrictions: list[Restriction] = []
        self.out_of_order = False

    def add(self, entity: Any) -> None:
        """Takes one node, way or relation."""
        tags = dict(entity.tags)
        if entity.is_way():
            self._add_way(entity, tags)
        elif entity.is_node():
            self.out_of_order |= bool(self.way_id)
            if self.reader.blocks(tags):
                self.barriers.append(entity.id)
        elif entity.is_relation():
            members = [(member.type, member.ref, member.role) for member in entity.members]
            restriction = parse_restriction(
                tags, members, self.reader.vehicle, self.reader.findings
            )
            if restriction is not None:
                self.restrictions.append(restriction)

    def _add_way(self, way: Any, tags: dict[str, str]) -> None:
        street = self.reader.street(tags)
        if street is None:
            return
        kind, against = street
        self.way_id.append(way.id)
        self.kind.append(self.table.kind(kind))
        self.name.append(self.table.name(tags.get("name") or tags.get("ref") or ""))
        self.against.append(against)
        self.count.append(len(way.nodes))
        for node in way.nodes:
            place = node.location
            self.node.append(node.ref)
            self.x.append(place.x)
            self.y.append(place.y)

    def ways(self, path: Path) -> Ways:
        """Everything taken, as arrays."""
        if not self.way_id:
            left_out = sum(self.reader.findings.left_out.values())
            raise UserError(
                f"{path} has no street of the network {self.reader.network!r}"
                + (f" ({left_out} ways were left out)" if left_out else "")
                + "; an extract with highways is expected."
            )
        x, y = (np.array(values, dtype=np.int64) for values in (self.x, self.y))
        unknown = (x == _UNKNOWN_PLACE) | (y == _UNKNOWN_PLACE)
        if unknown.all():
            raise UserError(
                f"{path} does not say where its streets' nodes are; it must hold the nodes, and "
                "before the ways (osmium sort puts them in order)."
            )
        self._warn(int(unknown.sum()), len(unknown))
        offsets = np.concatenate([[0], np.cumsum(np.array(self.count, dtype=np.int64))])
        order = _turn_round(offsets, np.array(self.against, dtype=bool))
        degrees = [np.where(unknown, np.nan, v / _UNITS_PER_DEGREE)[order] for v in (x, y)]
        return Ways(
            kinds=list(self.table.kinds),
            way_id=np.array(self.way_id, dtype=np.int64),
            kind=np.array(self.kind, dtype=np.int64),
            name=np.array(self.name, dtype=np.int64),
            offsets=offsets,
            node=np.array(self.node, dtype=np.int64)[order],
            lon=degrees[0],
            lat=degrees[1],
            barriers=np.array(self.barriers, dtype=np.int64),
            restrictions=self.restrictions,
            findings=self.reader.findings,
            attribution=ATTRIBUTION,
        )

    def _warn(self, unknown: int, total: int) -> None:
        if unknown:
            self.reader.findings.warnings.append(
                f"{unknown} of the {total} nodes of streets are not in the file; streets end there."
            )
        if self.out_of_order:
            self.reader.findings.warnings.append(
                "The file has nodes after ways, so some places may be missing; osmium sort puts "
                "them in order."
            )


def _turn_round(offsets: NDArray[np.int64], against: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The order of vertices in which the ways marked run the other way round."""
    count = np.diff(offsets)
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1], count)
    return np.where(
        np.repeat(against, count),
        np.repeat(offsets[1:] - 1, count) - place,
        np.repeat(offsets[:-1], count) + place,
    )
