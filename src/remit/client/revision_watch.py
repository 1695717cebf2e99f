"""Watches the revisions that a server serves, in a thread or a task, and reports them to a decision cache."""

import asyncio
from threading import Event, Lock, Thread
from typing import Final

import grpc

from remit.client.decision_cache import DecisionCache
from remit.client.errors import DecisionUnavailable
from remit.client.forks import FORKS, Forkable
from remit.client.links import ChannelLinks
from remit.v1.policy_service_pb2 import WatchRevisionRequest

WATCH_S: Final = 30.0
"""The watch restarts after this time, so no cached answer is older if a connection dies silently."""
_AGAIN_S: Final = 1.0
"""Pause after a failed watch."""


class RevisionWatch(Forkable):
    """Watches in its own thread, from `start` until `stop`. A child of the process starts its own."""

    def __init__(self, links: ChannelLinks, cache: DecisionCache) -> None:
        self._links = links
        self._cache = cache
        self._forget()
        FORKS.add(self)

    def _forget(self) -> None:
        self._mutex = Lock()
        self._stopping = Event()
        self._started = False

    def start(self) -> None:
        """Starts the thread. Does nothing the next time."""
        if self._started:
            return
        with self._mutex:
            if not self._started:
                self._started = True
                Thread(target=self._run, args=(self._stopping,), name="remit-watch", daemon=True).start()

    def stop(self) -> None:
        self._started = True
        self._stopping.set()

    def after_fork_in_child(self) -> None:
        self._forget()

    def _run(self, stopping: Event) -> None:
        while not stopping.is_set():
            try:
                failed = self._watched()
            except DecisionUnavailable:
                # There is no token just now, or the client is closed.
                failed = True
            except ValueError:
                # The channel is closed.
                return
            finally:
                self._cache.unwatched()
            if failed:
                stopping.wait(_AGAIN_S)

    def _watched(self) -> bool:
        """Watches once. True if the watch failed, False if it is time for the next one."""
        metadata = self._links.metadata()
        link, changes = self._links.enter(), None
        try:
            changes = self._links.open(link, WatchRevisionRequest(), timeout=WATCH_S, metadata=metadata)
            for change in changes:
                self._cache.changed(change)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            self._links.leave(link, changes)
        return True


class AsyncRevisionWatch(Forkable):
    """Watches in a task, from `start` until `stop`."""

    def __init__(self, links: ChannelLinks, cache: DecisionCache) -> None:
        self._links = links
        self._cache = cache
        self._task: asyncio.Task[None] | None = None
        FORKS.add(self)

    def start(self) -> None:
        """Starts the task in the running loop. Does nothing the next time."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def after_fork_in_child(self) -> None:
        self._task = None

    async def _run(self) -> None:
        while True:
            try:
                failed = await self._watched()
            except DecisionUnavailable:
                # There is no token just now, or the client is closed.
                failed = True
            finally:
                self._cache.unwatched()
            if failed:
                await asyncio.sleep(_AGAIN_S)

    async def _watched(self) -> bool:
        """Watches once. True if the watch failed, False if it is time for the next one."""
        metadata = self._links.metadata()
        link, changes = self._links.enter(), None
        try:
            changes = self._links.open(link, WatchRevisionRequest(), timeout=WATCH_S, metadata=metadata)
            async for change in changes:
                self._cache.changed(change)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        finally:
            self._links.leave(link, changes)
        return True
