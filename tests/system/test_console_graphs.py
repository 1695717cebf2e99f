"""A large graph in the console: whoever pastes it waits, and nobody else."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from support.console import GRAPHS, ConsoleProcess
from support.server import DEADLINE_S, Server, until

from remit.client import RecordFilter
from remit.console.drawing.graphs import EDGES_LIMIT, NODES_LIMIT

_PATH = "t/acme/graph"


@pytest.fixture(scope="module")
def console(untouched: Server) -> Iterator[ConsoleProcess]:
    with ConsoleProcess(untouched) as process:
        yield process


def graph(nodes: int, edges: int) -> str:
    """Each node uses the next, and the first ones use the last ones: the layout bends every long edge at every level."""
    ends = [(at, at + 1) for at in range(nodes - 1)]
    ends += [(at % 20, nodes - 1 - at // 20) for at in range(edges - len(ends))]
    return json.dumps(
        {
            "nodes": [{"uid": f"n{at}", "kind": "FLOW", "namespace": "acme.finance"} for at in range(nodes)],
            "edges": [{"source": f"n{one}", "target": f"n{two}", "relation": "SUBFLOW"} for one, two in ends[:edges]],
        }
    )


def post(console: ConsoleProcess, text: str) -> httpx.Response:
    asked = {"p": "user:alice", "graph": text}
    own = {"sec-fetch-site": "same-origin"}
    return httpx.post(console.url + _PATH, data=asked, headers=own, timeout=3 * DEADLINE_S)


def test_pages_of_others_answer_while_a_graph_is_drawn(console: ConsoleProcess, untouched: Server) -> None:
    with untouched.client() as client, ThreadPoolExecutor() as threads:

        def asked() -> int:
            return len([*client.list_records(RecordFilter(tenant="acme", principal="user:alice"))])

        before = asked()
        drawn = threads.submit(post, console, graph(500, 1_000))
        # The server has answered: what remains is the picture.
        until(lambda: asked() > before, "the server to be asked about the graph")
        for _ in range(5):
            assert 200 == httpx.get(f"{console.url}t/acme", timeout=DEADLINE_S).status_code
            assert not drawn.done(), "the page waited for the picture"
        (child,) = console.children()
        page = drawn.result()

    assert 200 == page.status_code
    assert "<svg" not in page.text
    assert "no picture: 500 nodes and 1,000 edges were not drawn within 10 s" in page.text
    assert "500 of 1000" in page.text
    assert child not in console.children()
    assert "<svg" in post(console, (GRAPHS / "close.json").read_text()).text


@pytest.mark.parametrize(("nodes", "edges"), [(NODES_LIMIT + 1, 0), (NODES_LIMIT, EDGES_LIMIT + 1)])
def test_graph_past_the_limits_is_refused_with_its_size(console: ConsoleProcess, nodes: int, edges: int) -> None:
    page = post(console, graph(nodes, edges))

    assert 400 == page.status_code
    assert f"{nodes:,} nodes and {edges:,} edges are too many: a page shows at most 1,000 nodes and 2,000" in page.text


def test_text_that_takes_too_long_is_refused_and_so_is_whoever_waits_too_long_for_it(untouched: Server) -> None:
    with ConsoleProcess(untouched) as console, ThreadPoolExecutor() as threads:
        read = threads.submit(post, console, "digraph{" + "a->b;" * 50_000 + "}")
        until(console.children, "the process that reads")
        assert 200 == httpx.get(f"{console.url}t/acme", timeout=DEADLINE_S).status_code
        busy = post(console, (GRAPHS / "close.json").read_text())
        assert not read.done()
        page = read.result()

    assert (503, True) == (busy.status_code, "busy with other graphs for 5 s: try again" in busy.text)
    assert 400 == page.status_code
    assert "the text of 250,009 characters was not read within 10 s: expected at most 1,000 nodes and" in page.text
