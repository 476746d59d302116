"""Small maps in OpenStreetMap's XML, and the networks that `data.osm` makes of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import quoteattr

from data.osm.__main__ import main
from data.road_network import RoadNetwork

Tags = dict[str, str]


@dataclass
class OsmMap:
    """Nodes by number (lon, lat), ways and relations, written as `.osm`."""

    nodes: dict[int, tuple[float, float]]
    ways: list[tuple[list[int], Tags]]
    node_tags: dict[int, Tags] = field(default_factory=dict)
    restrictions: list[tuple[list[tuple[str, int, str]], Tags]] = field(default_factory=list)

    def write(self, path: Path) -> Path:
        lines = ["<osm version='0.6'>"]
        for node, (lon, lat) in sorted(self.nodes.items()):
            tags = _tags(self.node_tags.get(node, {}))
            lines.append(f"<node id='{node}' version='1' lat='{lat}' lon='{lon}'>{tags}</node>")
        for number, (nodes, tags_of_way) in enumerate(self.ways, start=1):
            refs = "".join(f"<nd ref='{node}'/>" for node in nodes)
            lines.append(f"<way id='{number}' version='1'>{refs}{_tags(tags_of_way)}</way>")
        for number, (members, tags_of_relation) in enumerate(self.restrictions, start=1):
            refs = "".join(
                f"<member type='{what}' ref='{ref}' role='{role}'/>" for what, ref, role in members
            )
            tags = _tags({"type": "restriction", **tags_of_relation})
            lines.append(f"<relation id='{number}' version='1'>{refs}{tags}</relation>")
        path.write_text("\n".join([*lines, "</osm>"]), encoding="utf-8")
        return path

    def network(self, folder: Path, *options: str) -> BuiltNetwork:
        """What `python -m data.osm` makes of the map."""
        source = self.write(folder / "map.osm")
        main(["--pbf", str(source), "--out", str(folder / "out"), "--force", *options])
        return BuiltNetwork(folder / "out", self)


def _tags(tags: Tags) -> str:
    return "".join(f"<tag k={quoteattr(k)} v={quoteattr(v)}/>" for k, v in tags.items())


class BuiltNetwork:
    """A network whose roads are told by the names of the map's nodes that they join."""

    def __init__(self, folder: Path, osm_map: OsmMap) -> None:
        self.folder = folder
        self.network = network = RoadNetwork.load(folder)
        by_place = {place: node for node, place in osm_map.nodes.items()}
        ends = [
            (
                by_place.get((network.start_lon[road], network.start_lat[road]), 0),
                by_place.get((network.end_lon[road], network.end_lat[road]), 0),
            )
            for road in range(network.num_roads)
        ]
        self.roads = ends

    def turns(self) -> set[tuple[tuple[int, int], tuple[int, int]]]:
        """All turns, as pairs of (first node, last node)."""
        return {
            (self.roads[road], self.roads[target])
            for road in range(self.network.num_roads)
            for target in self.network.candidates(road).tolist()
        }


def cross(**changes: object) -> OsmMap:
    """Four two-way streets (ways 1 to 4) from node 5 to nodes 1 (west), 2 (north), 3, 4.

    Their ends are joined by a ring (way 5), so that no end is dead.
    """
    nodes = {
        1: (10.000, 50.001),
        2: (10.001, 50.002),
        3: (10.002, 50.001),
        4: (10.001, 50.000),
        5: (10.001, 50.001),
    }
    street = {"highway": "residential"}
    ways = [([end, 5], {**street, "name": f"to {end}"}) for end in (1, 2, 3, 4)]
    ways.append(([1, 2, 3, 4, 1], {**street, "name": "ring"}))
    return OsmMap(nodes, ways, **changes)  # type: ignore[arg-type]
