"""Reads and draws graphs in a child process: a large one takes many seconds, in which other pages are answered."""

import asyncio
from typing import Any, Final, NamedTuple
from xml.etree import ElementTree as ET

from remit.core.errors import RemitError
from remit.drawing import graph_svg
from remit.drawing.graph_dot import read_dot
from remit.drawing.graph_json import read_json
from remit.process.channel import ChildProcess, answer_requests
from remit.process.errors import ChildEndedError
from remit.v1 import visibility_service_pb2 as messages

NODES_LIMIT: Final = 1_000
EDGES_LIMIT: Final = 2_000
"""Of a graph that a page shows."""
LIMIT_S: Final = 10.0
"""For reading a graph, and again for its picture."""
_WAIT_S: Final = 5.0
_NICE: Final = 10


class GraphRefusedError(RemitError):
    """The graph is not read, or not drawn. The text says why, and the limits."""


class GraphTextError(GraphRefusedError):
    """The text is no graph, or a graph that is too large."""


class _GraphText(NamedTuple):
    text: str
    is_json: bool


class GraphProcess:
    """One graph at a time, of whoever comes first. The process is killed when it works for longer than `LIMIT_S`."""

    def __init__(self) -> None:
        self._child = ChildProcess("the process that draws graphs", __name__, serve.__name__)
        self._place = asyncio.Lock()

    async def read(self, text: str, *, is_json: bool) -> messages.VisibleGraphRequest:
        """Raises GraphTextError if the text is no graph or is too large, and GraphRefusedError if others keep the process
        busy."""
        late = GraphTextError(
            f"the text of {len(text):,} characters was not read within {LIMIT_S:g} s: expected at most {NODES_LIMIT:,} "
            f"nodes and {EDGES_LIMIT:,} edges; JSON is read faster than DOT"
        )
        return messages.VisibleGraphRequest.FromString(await self._answer(_GraphText(text, is_json), late))

    async def draw(self, graph: messages.VisibleGraphResponse) -> str:
        """The picture as an `svg` element. Raises GraphRefusedError if the graph is too large, takes too long, or if
        others keep the process busy."""
        most_nodes, most_edges = graph_svg.NODES_LIMIT, graph_svg.EDGES_LIMIT
        if len(graph.nodes) > most_nodes or len(graph.edges) > most_edges:
            raise GraphRefusedError(
                f"{_size(graph)} are too many: at most {most_nodes:,} nodes and {most_edges:,} edges are drawn"
            )
        late = GraphRefusedError(f"{_size(graph)} were not drawn within {LIMIT_S:g} s")
        picture: str = await self._answer(graph.SerializeToString(), late)
        return picture

    async def close(self) -> None:
        self._child.stop()
        async with self._place:
            self._child.close()

    async def _answer(self, asked: _GraphText | bytes, late: GraphRefusedError) -> Any:
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._place.acquire()
        except TimeoutError:
            raise GraphRefusedError(
                f"the console was busy with other graphs for {_WAIT_S:g} s: try again in some seconds"
            ) from None
        work = asyncio.get_running_loop().run_in_executor(None, self._child.answer, asked, LIMIT_S, late)
        # The place is free when the work has ended, whoever still waits for it.
        work.add_done_callback(lambda _: self._place.release())
        try:
            return await asyncio.shield(work)
        except ChildEndedError as error:
            raise GraphRefusedError(str(error)) from None


def serve(descriptor: int) -> None:
    """The process: reads and draws until the channel closes."""
    answer_requests(descriptor, _NICE, _answered)


def _answered(asked: _GraphText | bytes) -> object:
    if isinstance(asked, bytes):
        return ET.tostring(graph_svg.draw(messages.VisibleGraphResponse.FromString(asked)), encoding="unicode")
    try:
        graph = read_json(asked.text) if asked.is_json else read_dot(asked.text)
    except RecursionError:
        raise GraphTextError("is nested too deeply") from None
    except ValueError as error:
        raise GraphTextError(str(error)) from None
    if len(graph.nodes) > NODES_LIMIT or len(graph.edges) > EDGES_LIMIT:
        raise GraphTextError(
            f"{_size(graph)} are too many: a page shows at most {NODES_LIMIT:,} nodes and {EDGES_LIMIT:,} edges; "
            "`remit graph` prints larger graphs"
        )
    return graph.SerializeToString()


def _size(graph: messages.VisibleGraphRequest | messages.VisibleGraphResponse) -> str:
    return f"{len(graph.nodes):,} nodes and {len(graph.edges):,} edges"
