"""Both clients behind one face: what is said of one is said of the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, cast

from support.server import DEADLINE_S

from remit.client import AsyncClient, Client


class AwaitedClient:
    """An AsyncClient whose every method runs to its end on a loop of its own, as those of Client do."""

    def __init__(self, target: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = self._runner.run(_made(target, options))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def awaited(*args: Any, **kwargs: Any) -> Any:
            called = method(*args, **kwargs)
            return self._walked(called) if isinstance(called, AsyncIterator) else self._runner.run(called)

        return awaited

    def _walked(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._runner.run(_next(items))
            except StopAsyncIteration:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.close())
        self._runner.close()


Connect = Callable[..., Client]

CONNECTS: dict[str, Connect] = {"sync": Client, "async": cast("Connect", AwaitedClient)}


def patiently(connect: Connect) -> Connect:
    """With the deadline of tests where no other is given."""
    return lambda target, **options: connect(target, **{"timeout_s": DEADLINE_S, **options})


async def _made(target: str, options: dict[str, Any]) -> AsyncClient:
    return AsyncClient(target, **options)


async def _next(items: AsyncIterator[Any]) -> Any:
    return await anext(items)
