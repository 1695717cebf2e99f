"""Both clients behind one face: what is said of one is said of the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, cast

from support.server import DEADLINE_S

from remit.client import AsyncClient, AsyncTenantClient, Client


class _Awaited:
    """A client for asyncio whose every method runs to its end on a loop of its own."""

    def __init__(self, runner: asyncio.Runner, client: AsyncClient | AsyncTenantClient) -> None:
        self._runner = runner
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def awaited(*args: Any, **kwargs: Any) -> Any:
            called = method(*args, **kwargs)
            if isinstance(called, AsyncTenantClient):
                return _Awaited(self._runner, called)
            return self._walked(called) if isinstance(called, AsyncIterator) else self._runner.run(called)

        return awaited

    def _walked(self, items: AsyncIterator[Any]) -> Iterator[Any]:
        while True:
            try:
                yield self._runner.run(_next(items))
            except StopAsyncIteration:
                return


class AwaitedClient(_Awaited):
    """An AsyncClient that is used as a Client."""

    def __init__(self, target: str, **options: Any) -> None:
        runner = asyncio.Runner()
        super().__init__(runner, runner.run(_made(target, options)))

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
