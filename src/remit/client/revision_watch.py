"""Watches the revisions that a server serves, in a thread or a task, and reports them to a decision cache."""

import asyncio
from threading import Event, Thread
from typing import Final

import grpc

from remit.client.decision_cache import DecisionCache
from remit.client.errors import DecisionUnavailable
from remit.client.links import ChannelLinks
from remit.v1.policy_service_pb2 import WatchRevisionRequest

WATCH_S: Final = 30.0
"""The watch restarts after this time, so no cached answer is older if a connection dies silently."""
_AGAIN_S: Final = 1.0
"""Pause after a failed watch."""


class RevisionWatch:
    """Watches in its own thread, until `stop` and the end of the channel."""

    def __init__(self, links: ChannelLinks, cache: DecisionCache) -> None:
        self._links = links
        self._cache = cache
        self._stopping = Event()
        Thread(target=self._run, name="remit-watch", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            failed = True
            link = self._links.enter()
            try:
                for change in link.watching(WatchRevisionRequest(), timeout=WATCH_S, metadata=self._links.metadata()):
                    self._cache.changed(change)
            except grpc.RpcError as error:
                failed = error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
            except DecisionUnavailable:
                # There is no token just now.
                pass
            except ValueError:
                # The channel is closed.
                return
            finally:
                self._cache.unwatched()
                self._links.leave(link)
            if failed:
                self._stopping.wait(_AGAIN_S)


async def watch(links: ChannelLinks, cache: DecisionCache) -> None:
    """Watches until it is cancelled."""
    while True:
        failed = True
        link = links.enter()
        try:
            async for change in link.watching(WatchRevisionRequest(), timeout=WATCH_S, metadata=links.metadata()):
                cache.changed(change)
        except grpc.RpcError as error:
            failed = error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        except DecisionUnavailable:
            # There is no token just now.
            pass
        finally:
            cache.unwatched()
            links.leave(link)
        if failed:
            await asyncio.sleep(_AGAIN_S)
