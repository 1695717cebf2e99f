"""A visible graph as an SVG picture: a node stands above the nodes that it uses."""

from collections import defaultdict
from typing import Final
from xml.etree import ElementTree as ET

from grandalf.graphs import Edge, Graph, Vertex
from grandalf.layouts import SugiyamaLayout
from grandalf.routing import route_with_lines

from remit.core.names import quote
from remit.drawing.graph_edges import forbidden, reason_of
from remit.v1 import visibility_service_pb2 as messages

NODES_LIMIT: Final = 500
EDGES_LIMIT: Final = 1_000
"""The layout's time grows with the square of nodes and edges; above these limits it takes too long."""
_CHARACTER, _LINE, _GAP = 7.3, 16.0, 40.0
_FORBIDDEN: Final = "forbidden"
_STYLE: Final = (
    "text{font:12px monospace;fill:#333}rect{fill:#fff;stroke:#333}path{fill:none;stroke:#333}"
    ".edge text{stroke:#fff;stroke-width:3;paint-order:stroke}"
    ".stub rect{stroke:#999;stroke-dasharray:4}.stub text{fill:#999}"
    ".forbidden path{stroke:#c00;stroke-dasharray:6 3}.forbidden text{fill:#c00}"
    "rect.ground{stroke:none}path.tip{fill:#333;stroke:none}path.tip.forbidden{fill:#c00}"
)


class _Box:
    """A node as the layout needs it. The layout sets `xy`, the middle."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.w = max(map(len, lines)) * _CHARACTER + 16
        self.h = len(lines) * _LINE + 12
        self.xy = (0.0, 0.0)


class _Way:
    """An edge as the layout needs it. The layout sets its points."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []

    def setpath(self, points: list[tuple[float, float]]) -> None:
        self.points = points


def write_svg(answer: messages.VisibleGraphResponse) -> str:
    """A document of its own, with its styles."""
    picture = draw(answer)
    style = ET.Element("style")
    style.text = _STYLE
    picture.insert(1, style)
    ET.indent(picture)
    return ET.tostring(picture, encoding="unicode") + "\n"


def draw(answer: messages.VisibleGraphResponse) -> ET.Element:
    """The picture, without styles: whoever shows it has them for the classes `graph`, `ground`, `edge`, `stub`, `tip` and
    `forbidden`."""
    boxes = {node.uid: _Box(_lines(node)) for node in answer.nodes}
    between: defaultdict[tuple[str, str], list[messages.VisibleEdge]] = defaultdict(list)
    for each in answer.edges:
        between[each.edge.source, each.edge.target].append(each)
    width, height, paths = _lay_out(boxes, list(between))
    picture = ET.Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=f"{width:.0f}",
        height=f"{height:.0f}",
        role="img",
        attrib={"class": "graph"},
    )
    ET.SubElement(picture, "title").text = f"Dependency graph: {len(answer.nodes)} nodes, {len(answer.edges)} edges"
    definitions = ET.SubElement(picture, "defs")
    _add_arrow(definitions, "arrow", "tip")
    _add_arrow(definitions, _FORBIDDEN, f"tip {_FORBIDDEN}")
    # Without a background, text and lines are black on a dark page.
    ET.SubElement(picture, "rect", {"width": "100%", "height": "100%", "class": "ground"})
    for ends, edges in between.items():
        _draw_edge(picture, paths[ends], edges)
    for node in answer.nodes:
        _draw_node(picture, boxes[node.uid], stub=not node.kind)
    return picture


def _add_arrow(definitions: ET.Element, name: str, classes: str) -> None:
    marker = ET.SubElement(
        definitions,
        "marker",
        {"id": name, "refX": "8", "refY": "4", "markerWidth": "8", "markerHeight": "8", "orient": "auto"},
    )
    ET.SubElement(marker, "path", {"d": "M0,0 L8,4 L0,8 z", "class": classes})


def _lines(node: messages.GraphNode) -> list[str]:
    if not node.kind:
        return [quote(node.uid)]
    return [quote(each) for each in (node.id or node.uid, f"{node.kind} {node.namespace}".strip())]


def _lay_out(
    boxes: dict[str, _Box], ends: list[tuple[str, str]]
) -> tuple[float, float, dict[tuple[str, str], list[tuple[float, float]]]]:
    """Places the boxes; unconnected parts stand side by side. Returns width, height and the path of each edge."""
    vertices = {uid: Vertex(uid) for uid in boxes}
    for uid, vertex in vertices.items():
        vertex.view = boxes[uid]
    ways = {(one, two): _Way() for one, two in ends if one != two}
    edges = []
    for (one, two), way in ways.items():
        edges.append(Edge(vertices[one], vertices[two]))
        edges[-1].view = way
    left, height = _GAP, 2 * _GAP
    for part in Graph(list(vertices.values()), edges).C:
        layout = SugiyamaLayout(part)
        layout.route_edge = route_with_lines
        layout.xspace, layout.yspace = _GAP / 2, _GAP
        layout.init_all()
        layout.draw(3)
        mine, paths = [vertex.view for vertex in part.sV], [edge.view for edge in part.sE]
        points = [point for path in paths for point in path.points]
        start = min(*(box.xy[0] - box.w / 2 for box in mine), *(x for x, _ in points), float("inf"))
        end = max(*(box.xy[0] + box.w / 2 for box in mine), *(x for x, _ in points), float("-inf"))
        top = min(box.xy[1] - box.h / 2 for box in mine)
        for box in mine:
            box.xy = (box.xy[0] - start + left, box.xy[1] - top + _GAP)
            height = max(height, box.xy[1] + box.h / 2 + _GAP)
        for path in paths:
            path.points = [(x - start + left, y - top + _GAP) for x, y in path.points]
        left += end - start + _GAP
    found = {pair: way.points for pair, way in ways.items()}
    return left, height, found | {(one, two): _loop(boxes[one]) for one, two in ends if one == two}


def _loop(box: _Box) -> list[tuple[float, float]]:
    right, (_, y) = box.xy[0] + box.w / 2, box.xy
    return [(right, y - 8), (right + 20, y - 8), (right + 20, y + 8), (right, y + 8)]


def _draw_edge(picture: ET.Element, way: list[tuple[float, float]], edges: list[messages.VisibleEdge]) -> None:
    refused = any(map(forbidden, edges))
    group = ET.SubElement(picture, "g", {"class": f"edge {_FORBIDDEN}" if refused else "edge"})
    steps = " L".join(f"{x:.1f},{y:.1f}" for x, y in way)
    ET.SubElement(group, "path", {"d": f"M{steps}", "marker-end": f"url(#{_FORBIDDEN if refused else 'arrow'})"})
    (x1, y1), (x2, y2) = way[(len(way) - 1) // 2], way[(len(way) - 1) // 2 + 1]
    label = ", ".join(
        f"{each.edge.relation} ({reason_of(each)})" if forbidden(each) else each.edge.relation for each in edges
    )
    backend = {"x": f"{(x1 + x2) / 2 + 4:.1f}", "y": f"{(y1 + y2) / 2:.1f}"}
    ET.SubElement(group, "text", backend).text = quote(label, len(label))


def _draw_node(picture: ET.Element, box: _Box, *, stub: bool) -> None:
    group = ET.SubElement(picture, "g", {"class": "stub"} if stub else {})
    left, top = box.xy[0] - box.w / 2, box.xy[1] - box.h / 2
    ET.SubElement(group, "rect", x=f"{left:.1f}", y=f"{top:.1f}", width=f"{box.w:.1f}", height=f"{box.h:.1f}", rx="4")
    for number, line in enumerate(box.lines, start=1):
        backend = {"x": f"{left + 8:.1f}", "y": f"{top + number * _LINE:.1f}"}
        ET.SubElement(group, "text", backend).text = line
