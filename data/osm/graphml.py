"""Street graphs that OSMnx saved as GraphML: every edge is a directed road already."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data.osm.pbf import ATTRIBUTION, check_file
from data.osm.streets import FloatArray, KindTable, StreetKind, Ways
from data.osm.tags import TagReader
from data.roadmap_files import parse_highway
from runtime.errors import UserError, one_line

_NAMESPACE = "{http://graphml.graphdrawing.org/xmlns}"
_NUMBER_PAIR = re.compile(r"(-?[\d.]+(?:[eE][-+]?\d+)?)\s+(-?[\d.]+(?:[eE][-+]?\d+)?)")
_LIST_SIGNS = re.compile(r"[\[\]'\"]")


@dataclass
class _Edge:
    source: str
    target: str
    kind: StreetKind
    name: str
    way: int
    points: FloatArray  # [n, 2] lon, lat
    twin: StreetKind | None = None


@dataclass
class _Graph:
    path: Path
    nodes: dict[str, tuple[float, float]] = field(default_factory=dict)
    edges: list[_Edge] = field(default_factory=list)


def read_graphml(path: Path, reader: TagReader) -> Ways:
    """The streets of a graph; an edge and its way back with the same points are one street."""
    check_file(path)
    graph = _Graph(path)
    try:
        for tag, element, data in _elements(path):
            if tag == "node":
                graph.nodes[element.get("id", "")] = (float(data["x"]), float(data["y"]))
            else:
                _add_edge(graph, reader, element, data)
    except (ElementTree.ParseError, ValueError, KeyError, OSError, RecursionError) as error:
        raise UserError(
            f"{path} is no GraphML of OSMnx ({type(error).__name__}: {one_line(error)[:200]})."
        ) from error
    if not graph.edges:
        raise UserError(f"{path} has no edges that are streets.")
    return _ways(graph, _paired(graph.edges), reader)


def _elements(path: Path) -> Iterator[tuple[str, ElementTree.Element, dict[str, str]]]:
    """Nodes and edges with their data by name."""
    names: dict[str, str] = {}
    for _, element in ElementTree.iterparse(path):
        tag = element.tag.removeprefix(_NAMESPACE)
        if tag == "key":
            names[element.get("id", "")] = element.get("attr.name", "")
        elif tag in ("node", "edge"):
            data = {
                names.get(each.get("key", ""), ""): each.text or ""
                for each in element
                if each.tag.removeprefix(_NAMESPACE) == "data"
            }
            yield tag, element, data
            element.clear()


def _add_edge(
    graph: _Graph, reader: TagReader, element: ElementTree.Element, data: dict[str, str]
) -> None:
    source, target = element.get("source", ""), element.get("target", "")
    if source not in graph.nodes or target not in graph.nodes:
        raise ValueError(f"an edge joins the unknown nodes {source} and {target}")
    tags = {key: _LIST_SIGNS.sub("", text) for key, text in data.items()}
    tags["highway"] = parse_highway(data.get("highway", "")) or "road"
    # The graph was made for somebody already; every edge is one direction of a street.
    tags["oneway"] = "yes" if data.get("oneway", "").lower() == "true" else "no"
    street = reader.street(tags)
    if street is None:
        return
    pairs = _NUMBER_PAIR.findall(data.get("geometry", ""))
    ends = [graph.nodes[source], graph.nodes[target]]
    points = np.array(pairs if len(pairs) > 1 else ends, dtype=np.float64)
    way = re.search(r"\d{1,18}", data.get("osmid", ""))
    graph.edges.append(
        _Edge(source, target, street[0], tags.get("name", ""), int(way[0]) if way else 0, points)
    )


def _paired(edges: list[_Edge]) -> list[_Edge]:
    """The edges without those that are the way back of another, which is noted there."""
    waiting: dict[tuple[str, str, bytes], list[_Edge]] = {}
    streets = []
    for edge in edges:
        back = (edge.target, edge.source, edge.points[::-1].tobytes())
        if waiting.get(back):
            waiting[back].pop().twin = edge.kind
            continue
        waiting.setdefault((edge.source, edge.target, edge.points.tobytes()), []).append(edge)
        streets.append(edge)
    return streets


def _ways(graph: _Graph, streets: list[_Edge], reader: TagReader) -> Ways:
    table = KindTable()
    kinds = []
    for street in streets:
        there, back = street.kind, street.twin or street.kind
        kind = there._replace(
            oneway=street.twin is None,
            lanes_backward=back.lanes_forward,
            speed_backward_kmh=back.speed_forward_kmh,
        )
        kinds.append(table.kind(kind))
    points = np.concatenate([street.points for street in streets])
    if (~np.isfinite(points)).any() or (np.abs(points) > [180.0, 90.0]).any():
        raise UserError(
            f"{graph.path} has coordinates that are no [longitude, latitude] in degrees; save the "
            "graph before it is projected."
        )
    offsets = np.concatenate([[0], np.cumsum([len(street.points) for street in streets])])
    node = -1 - np.arange(len(points))
    names = list(graph.nodes)
    plain = all(name.isascii() and name.isdigit() and len(name) < 18 for name in names)
    number = {name: int(name) if plain else place + 1 for place, name in enumerate(names)}
    node[offsets[:-1]] = [number[street.source] for street in streets]
    node[offsets[1:] - 1] = [number[street.target] for street in streets]
    return Ways(
        kinds=list(table.kinds),
        way_id=np.array([street.way for street in streets], dtype=np.int64),
        kind=np.array(kinds, dtype=np.int64),
        name=np.array([table.name(street.name) for street in streets], dtype=np.int64),
        offsets=offsets.astype(np.int64),
        node=node,
        lon=points[:, 0].copy(),
        lat=points[:, 1].copy(),
        barriers=np.empty(0, dtype=np.int64),
        restrictions=[],
        findings=reader.findings,
        ends_only=True,
        attribution=ATTRIBUTION,
    )
