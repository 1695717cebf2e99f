"""Decisions as they happen: one stream a tenant from the server, however many people watch."""

import asyncio
import hashlib
import time
from collections import deque
from contextlib import suppress
from typing import Final

from remit.client import AsyncClient, DecisionUnavailable, RecordFilter
from remit.console.person import PERSON
from remit.v1.audit_service_pb2 import Record

_KEPT: Final = 200
"""The newest records of a tenant."""
_IDLE_S: Final = 60
_MOST_VIEWERS: Final = 10_000


class _Follower:
    """The stream of one tenant, with the right of whoever opened it."""

    def __init__(self, client: AsyncClient, tenant: str) -> None:
        self.records: deque[Record] = deque(maxlen=_KEPT)
        self._end: asyncio.TimerHandle | None = None
        self._begun = asyncio.Event()
        # The task keeps the person of the request that made it.
        self.task = asyncio.create_task(self._follow(client, tenant))

    def looked_at(self) -> None:
        """Ends the stream when nobody has looked at it for a while."""
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(_IDLE_S, self.task.cancel)

    async def begun(self) -> None:
        """Returns when the newest records are there, or when there is no stream."""
        waiting = asyncio.create_task(self._begun.wait())
        await asyncio.wait([waiting, self.task], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()

    async def _follow(self, client: AsyncClient, tenant: str) -> None:
        begin_us = time.time_ns() // 1_000
        newest = client.list_records(RecordFilter(tenant=tenant), page_size=100)
        first = []
        async for record in newest:
            first.append(record)
            if len(first) == 100:  # noqa: PLR2004 (a page)
                break
        self.records.extend(reversed(first))
        self._begun.set()
        after = first[0].id if first else ""
        where = RecordFilter(tenant=tenant, since_us=0 if first else begin_us)
        async for record in client.follow_records(where, after=after):
            self.records.append(record)


class Feed:
    """The followers of one console."""

    def __init__(self, client: AsyncClient, ask_again_s: float) -> None:
        self._client = client
        self._ask_again_s = ask_again_s
        self._followers: dict[str, _Follower] = {}
        self._allowed_until: dict[tuple[bytes, str], float] = {}

    async def newest(self, tenant: str) -> list[Record]:
        """The newest records first. Raises DecisionUnavailable if the person of this request may not read them."""
        await self._require(tenant)
        follower = self._followers.get(tenant)
        if follower is None or follower.task.done():
            # It ended with the right of whoever opened it, or with the server: this person opens another one.
            follower = self._followers[tenant] = _Follower(self._client, tenant)
        follower.looked_at()
        await follower.begun()
        if follower.task.done() and not follower.task.cancelled() and (error := follower.task.exception()):
            raise error
        return [*reversed(follower.records)]

    async def close(self) -> None:
        for each in self._followers.values():
            each.task.cancel()
            with suppress(asyncio.CancelledError, DecisionUnavailable):
                await each.task

    async def _require(self, tenant: str) -> None:
        """Asks the server whether this person may read the decisions of the tenant, once in a while."""
        of = PERSON.get(None)
        person = hashlib.sha256(f"{of.principal} {of.token}".encode() if of is not None else b"").digest(), tenant
        if self._allowed_until.get(person, 0) > time.monotonic():
            return
        self._allowed_until.pop(person, None)
        async for _ in self._client.count_records(RecordFilter(tenant=tenant, since_us=time.time_ns() // 1_000)):
            break
        if len(self._allowed_until) >= _MOST_VIEWERS:
            self._allowed_until.clear()
        self._allowed_until[person] = time.monotonic() + self._ask_again_s
