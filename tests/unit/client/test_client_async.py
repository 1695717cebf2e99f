import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from remit.client import AsyncClient, DecisionUnavailable

VIEWS = ("user:a", "VIEW", "FLOW", "a")


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
            client.tenant("acme").check(*VIEWS),
            client.tenant("acme").check_reach("a", "b", "KV"),
        ):
            with pytest.raises(TypeError, match="await it"):
                assert question
            question.close()

    asking(forgot)


def test_asyncio_conditions_raise_for_a_question_that_is_not_awaited() -> None:
    """A predicate that forgot its `await` is judged by asyncio's code, not by the caller's."""

    async def forgot(client: AsyncClient) -> None:
        condition, question = asyncio.Condition(), client.tenant("acme").check(*VIEWS)
        async with condition:
            with pytest.raises(TypeError, match="await it"):
                await condition.wait_for(lambda: question)
        question.close()

    asking(forgot)


async def in_a_task_group(question: Any) -> Any:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(question)
    except* DecisionUnavailable as group_error:
        raise group_error.exceptions[0] from None


@pytest.mark.parametrize(
    "how", [asyncio.create_task, asyncio.gather, lambda asked: asyncio.wait_for(asked, 5), in_a_task_group]
)
def test_question_can_be_awaited_in_every_asyncio_way(how: Callable[[Any], Any]) -> None:
    async def ask(client: AsyncClient) -> None:
        with pytest.raises(DecisionUnavailable, match="UNAVAILABLE"):
            await how(client.tenant("acme").check(*VIEWS))

    asking(ask)


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_that_asks_prints_its_question(debug: bool) -> None:
    """Before its first step, while it runs and when it is done; alone and among all tasks."""

    async def ask(client: AsyncClient) -> None:
        asyncio.get_running_loop().set_debug(debug)
        task = asyncio.create_task(client.tenant("acme").check(*VIEWS), name="asks")
        before, among = repr(task), str(asyncio.all_tasks())
        await asyncio.sleep(0)
        while_running = repr(task)
        done, _ = await asyncio.wait([task])
        for printed in (before, among, while_running, str(done)):
            assert "name='asks' coro=<AsyncTenantClient.check()" in printed
        with pytest.raises(DecisionUnavailable):
            task.result()

    asking(ask)


def test_a_runner_runs_a_question() -> None:
    async def made() -> AsyncClient:
        return AsyncClient("127.0.0.1:1", timeout_s=0.2)

    with asyncio.Runner() as runner:
        client = runner.run(made())
        with pytest.raises(DecisionUnavailable, match="UNAVAILABLE"):
            runner.run(client.tenant("acme").check(*VIEWS))
        runner.run(client.close())
