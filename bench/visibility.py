"""A dependency graph as a principal sees it, in process: the deciding, and protobuf in and out."""

import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import machine, table, worlds
from bench.engine import load
from bench.servers import CACHE, scratch
from remit import wire
from remit.core.dependency_graph import parse_graph
from remit.core.names import Principal, Word
from remit.engine.queries.visibility import Seen, VisibleTo
from remit.engine.snapshot import Snapshot
from remit.v1 import visibility_service_pb2 as messages

NODES, EDGES, NAMESPACES = 10_000, 50_000, 200
ROWS = 100_000
TARGET_MS = 150
_ADMIN = Principal("user:admin")
_ROUNDS = 9
_RELATIONS = ("SUBFLOW", "TRIGGER", "FILES", "KV")

Nodes = list[tuple[str, str, str, str]]
Edges = list[tuple[str, str, str]]


def main() -> int:
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    world = worlds.make(ROWS)
    with scratch("visibility") as folder:
        policies = folder / "policies"
        world.write(policies)
        _add_reach(world, policies)
        snapshot = load(policies)
    nodes, edges = draw(world)
    # As the server does once it has loaded: what stays is not looked at by each collection of what goes.
    gc.collect()
    gc.freeze()
    figures = {
        name: measure(snapshot, principal, nodes, edges)
        for name, principal in (("a member of one department", _member(world)), ("an admin", _ADMIN))
    }
    print(f"{NODES:,} nodes and {EDGES:,} edges in {NAMESPACES} namespaces over {ROWS:,} rows; medians of {_ROUNDS}\n")
    table.show(
        ["as seen by", "hidden", f"<= {TARGET_MS} ms", "", "protobuf in", "protobuf out", "bytes in", "bytes out"],
        [
            [
                name,
                f"{one['hidden']:,.0f}",
                f"{one['decide_ms']:.0f} ms",
                table.target(one["decide_ms"] <= TARGET_MS),
                f"{one['in_ms']:.0f} ms",
                f"{one['out_ms']:.0f} ms",
                f"{one['in_bytes']:,.0f}",
                f"{one['out_bytes']:,.0f}",
            ]
            for name, one in figures.items()
        ],
    )
    path = CACHE / f"visibility-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine.describe(), "seen_by": figures}, indent=1))
    print(f"raw figures: {path.relative_to(CACHE.parent.parent)}")
    return 0


def measure(snapshot: Snapshot, principal: Principal, nodes: Nodes, edges: Edges) -> dict[str, float]:
    """Deciding with its drawing of stubs, over names that are parsed; protobuf in with that parsing, and out."""
    message = messages.VisibleGraphRequest(
        nodes=[messages.GraphNode(uid=uid, kind=kind, namespace=where, id=name) for uid, kind, where, name in nodes],
        edges=[messages.GraphEdge(source=source, target=target, relation=by) for source, target, by in edges],
    ).SerializeToString()
    graph = parse_graph(nodes, edges)

    def decide() -> Seen:
        return VisibleTo(principal, Word("VIEW"), graph, random.SystemRandom()).answer(snapshot)

    def write() -> bytes:
        response = messages.VisibleGraphResponse()
        wire.fill_graph(response, seen.graph)
        return response.SerializeToString()

    seen = decide()
    return {
        "hidden": sum(each.nodes for each in seen.withheld),
        "decide_ms": _median_ms(decide),
        "in_ms": _median_ms(lambda: wire.graph_from(messages.VisibleGraphRequest.FromString(message))),
        "out_ms": _median_ms(write),
        "in_bytes": len(message),
        "out_bytes": len(write()),
    }


def draw(world: worlds.World) -> tuple[Nodes, Edges]:
    """A made-up graph: things of all kinds, each using five others in nine namespaces, its own among them."""
    choose = random.Random(4)
    namespaces = [name for names in world.namespaces for name in names][:NAMESPACES]
    assert len(namespaces) == NAMESPACES
    nodes: Nodes = []
    for number in range(NODES):
        where = choose.choice(namespaces)
        nodes.append((f"{where}/thing-{number}", choose.choice(worlds.KINDS), where, f"thing-{number}"))
    things: dict[str, list[str]] = {name: [] for name in namespaces}
    for uid, _, where, _ in nodes:
        things[where].append(uid)
    used = {name: [name, *choose.sample(namespaces, 8)] for name in namespaces}
    edges: Edges = []
    for number in range(EDGES):
        source, _, where, _ = nodes[number % NODES]
        edges.append((source, choose.choice(things[choose.choice(used[where])]), choose.choice(_RELATIONS)))
    return nodes, edges


def _add_reach(world: worlds.World, policies: Path) -> None:
    """The relations, and a row for each department: its work may use that of the next."""
    vocabulary = policies / "vocabulary.yaml"
    relations = "".join(f"  {name}: {{inherited: {str(name == 'KV').lower()}}}\n" for name in _RELATIONS)
    vocabulary.write_text(f"{vocabulary.read_text()}relations:\n{relations}")
    roots = [names[0] for names in world.namespaces]
    rows = [
        f"p, {worlds.TENANT}, {one}.**, {other}.**, SUBFLOW|TRIGGER, {'allow' if number % 4 else 'deny'}\n"
        for number, (one, other) in enumerate(zip(roots, [*roots[1:], roots[0]], strict=True))
    ]
    (policies / worlds.TENANT / "reach.csv").write_text("".join(rows))
    roles = policies / worlds.TENANT / "roles.csv"
    roles.write_text(f"{roles.read_text()}p, {_ADMIN}, {worlds.TENANT}, **, *, *, allow\n")


def _member(world: worlds.World) -> Principal:
    """Somebody of the first department, where the graph begins."""
    member = next(row.split(", ")[1] for row in world.g_rows if row.split(", ")[1:3] and ", group:d0-" in row)
    return Principal(member)


def _median_ms(run: Callable[[], object]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    sys.exit(main())
