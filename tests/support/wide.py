"""Rows are tried one after the other, and where they are many found by an index: worlds of few rows see the index so."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from remit.engine import compiled, permissions, reach, role_graph


@contextmanager
def indexed(always: bool) -> Iterator[None]:
    """With `always`, no row is too few for an index."""
    with ExitStack() as stack:
        for module in (compiled, role_graph, permissions, reach) if always else ():
            stack.enter_context(patch.object(module, "_WIDE", 0))
        yield
