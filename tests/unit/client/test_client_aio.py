import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from remit.client import AsyncClient, DecisionUnavailable


def asking(about: Callable[[AsyncClient], Any]) -> None:
    """Calls it with a client of a server that is away, within an event loop."""

    async def within() -> None:
        async with AsyncClient("127.0.0.1:1", timeout_s=0.2) as client:
            await about(client)

    asyncio.run(within())


def test_a_question_that_was_not_awaited_is_neither_yes_nor_no() -> None:
    """Else `if client.check(...)` would let everybody in who forgot the `await`."""

    async def forgot(client: AsyncClient) -> None:
        for question in (
            client.check("acme", "user:a", "VIEW", "FLOW", "a"),
            client.check_reach("acme", "a", "b", "KV"),
        ):
            with pytest.raises(TypeError, match="await it"):
                assert question
            question.close()

    asking(forgot)


@pytest.mark.parametrize("how", [asyncio.create_task, asyncio.gather, lambda asked: asyncio.wait_for(asked, 5)])
def test_a_question_is_awaited_in_every_way_that_asyncio_has(how: Callable[[Any], Any]) -> None:
    async def ask(client: AsyncClient) -> None:
        with pytest.raises(DecisionUnavailable, match="UNAVAILABLE"):
            await how(client.check("acme", "user:a", "VIEW", "FLOW", "a"))

    asking(ask)
