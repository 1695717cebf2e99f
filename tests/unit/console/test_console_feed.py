"""One stream a tenant, however many people look at it, and none when nobody does."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest

from remit.client import AsyncClient, DecisionUnavailable, RecordFilter
from remit.console import feed as feeds
from remit.console.feed import Feed
from remit.console.person import PERSON, Person, token_of_person
from remit.v1.audit_service_pb2 import Record, RecordCount


class Server:
    """Answers as the client of a server does."""

    def __init__(self) -> None:
        self.streams: list[str] = []
        """Whose streams were opened."""
        self.open = 0
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.news: asyncio.Queue[Record | None] = asyncio.Queue()

    async def list_records(self, _: RecordFilter, **__: Any) -> AsyncIterator[Record]:
        yield Record(id="2")
        yield Record(id="1")

    async def count_records(self, _: RecordFilter) -> AsyncIterator[RecordCount]:
        self.asked.append(token_of_person())
        if token_of_person() in self.refused:
            raise DecisionUnavailable("PERMISSION_DENIED", "no")
        return
        yield RecordCount()

    async def follow_records(self, _: RecordFilter, after: str) -> AsyncIterator[Record]:
        assert after == "2"
        self.streams.append(token_of_person())
        self.open += 1
        try:
            while (record := await self.news.get()) is not None:
                yield record
            raise DecisionUnavailable("PERMISSION_DENIED", "revoked")
        finally:
            self.open -= 1


def person_with(token: str) -> Person:
    return Person("somebody", token, recent=False)


@pytest.fixture(autouse=True)
def person() -> Iterator[None]:
    token = PERSON.set(person_with("ann"))
    yield
    PERSON.reset(token)


def made(server: Server, ask_again_s: float = 60) -> Feed:
    return Feed(cast("AsyncClient", server), ask_again_s)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (also of what ends by itself)
            await asyncio.sleep(0.001)


async def ids(feed: Feed) -> list[str]:
    return [each.id for each in await feed.newest("acme")]


def test_a_hundred_viewers_cost_the_server_one_stream_and_one_question_each() -> None:
    async def run() -> None:
        server = Server()
        feed = made(server)
        for viewer in range(100):
            PERSON.set(person_with(f"viewer-{viewer}"))
            for _ in range(3):
                assert await ids(feed) == ["2", "1"]
        await until(lambda: server.streams == ["viewer-0"])
        assert len(server.asked) == 100
        server.news.put_nowait(Record(id="3"))
        await until(server.news.empty)
        assert await ids(feed) == ["3", "2", "1"]
        await feed.close()
        assert server.open == 0

    asyncio.run(run())


def test_viewer_without_the_right_sees_nothing_of_the_stream_of_others() -> None:
    async def run() -> None:
        server = Server()
        feed = made(server, ask_again_s=0)
        assert await ids(feed) == ["2", "1"]
        server.refused.add("eve")
        PERSON.set(person_with("eve"))
        with pytest.raises(DecisionUnavailable, match="PERMISSION_DENIED"):
            await ids(feed)
        await feed.close()

    asyncio.run(run())


def test_stream_that_ends_with_its_opener_s_right_is_opened_by_the_next_viewer() -> None:
    async def run() -> None:
        server = Server()
        feed = made(server)
        await ids(feed)
        await until(lambda: server.open == 1)
        server.news.put_nowait(None)
        await until(lambda: server.open == 0)
        PERSON.set(person_with("bob"))
        assert await ids(feed) == ["2", "1"]
        await until(lambda: server.streams == ["ann", "bob"])
        await feed.close()

    asyncio.run(run())


def test_stream_ends_when_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_IDLE_S", 0.02)

    async def run() -> None:
        server = Server()
        feed = made(server)
        await ids(feed)
        await until(lambda: server.streams == ["ann"] and server.open == 0)
        assert await ids(feed) == ["2", "1"]
        await feed.close()

    asyncio.run(run())
