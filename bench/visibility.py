"""A dependency graph as one principal sees it, in process: the deciding, and protobuf in and out."""

import gc
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import machine, table, worlds
from bench.engine import load
from bench.servers import CACHE
from remit import wire
from remit.core.dependencies import parse_graph
from remit.core.names import Principal, Word
from remit.engine.visibility import Seen, VisibleTo
from remit.v1 import visibility_service_pb2 as messages

NODES, EDGES, NAMESPACES = 10_000, 50_000, 200
ROWS = 100_000
TARGET_MS = 150
_ROUNDS = 9
_RELATIONS = ("SUBFLOW", "TRIGGER", "FILES", "KV")

Nodes = list[tuple[str, str, str, str]]
Edges = list[tuple[str, str, str]]


def main() -> int:
    print(f"machine: {machine.describe()}")
    print(f"{machine.quietness()}\n")
    CACHE.mkdir(exist_ok=True)
    world = worlds.make(ROWS)
    with tempfile.TemporaryDirectory(prefix="visibility-", dir=CACHE) as scratch:
        policies = Path(scratch) / "policies"
        world.write(policies)
        _add_reach(world, policies)
        snapshot = load(policies)
    nodes, edges = draw(world)
    message = messages.VisibleGraphRequest(
        nodes=[messages.GraphNode(uid=uid, kind=kind, namespace=where, id=name) for uid, kind, where, name in nodes],
        edges=[messages.GraphEdge(source=source, target=target, relation=by) for source, target, by in edges],
    )
    principal = _sees_half(world)
    gc.collect()

    def parse_and_decide() -> Seen:
        inquiry = VisibleTo(principal, Word("VIEW"), parse_graph(nodes, edges), random.SystemRandom())
        return inquiry.answer(snapshot)

    def to_protobuf(seen: Seen) -> bytes:
        response = messages.VisibleGraphResponse()
        wire.fill_graph(response, seen.graph)
        return response.SerializeToString()

    seen = parse_and_decide()
    wired = message.SerializeToString()
    figures = {
        "names checked, decided, stubs drawn": _median_ms(parse_and_decide),
        "protobuf in (the names' check with it)": _median_ms(
            lambda: wire.graph_from(messages.VisibleGraphRequest.FromString(wired))
        ),
        "protobuf out": _median_ms(lambda: to_protobuf(seen)),
    }
    hidden = sum(each.nodes for each in seen.withheld)
    print(
        f"{NODES:,} nodes and {EDGES:,} edges in {NAMESPACES} namespaces over {ROWS:,} rows; {hidden:,} nodes hidden; "
        f"request {len(wired):,} bytes, answer {len(to_protobuf(seen)):,}\n"
    )
    decided = figures["names checked, decided, stubs drawn"]
    rows = [[what, "", f"{value:.0f} ms", ""] for what, value in figures.items()]
    rows[0] = [rows[0][0], f"<= {TARGET_MS} ms", f"{decided:.0f} ms", table.target(decided <= TARGET_MS)]
    table.show([f"median of {_ROUNDS}", "target", "measured", ""], rows)
    path = CACHE / f"visibility-{time.strftime('%Y%m%dT%H%M%S')}.json"
    path.write_text(json.dumps({"machine": machine.describe(), "hidden": hidden, "ms": figures}, indent=1))
    print(f"raw figures: {path.relative_to(CACHE.parent.parent)}")
    return 0


def draw(world: worlds.World) -> tuple[Nodes, Edges]:
    """A made-up graph: things of all kinds, each using five others, most of them near by."""
    choose = random.Random(4)
    namespaces = [name for names in world.namespaces for name in names][:NAMESPACES]
    assert len(namespaces) == NAMESPACES
    nodes: Nodes = []
    for number in range(NODES):
        where = choose.choice(namespaces)
        nodes.append((f"{where}/thing-{number}", choose.choice(worlds.KINDS), where, f"thing-{number}"))
    edges = [
        (nodes[number % NODES][0], nodes[choose.randrange(NODES)][0], choose.choice(_RELATIONS))
        for number in range(EDGES)
    ]
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


def _sees_half(world: worlds.World) -> Principal:
    """A principal of the first department, which the graph is drawn in."""
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
