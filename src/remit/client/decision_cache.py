from collections import OrderedDict
from threading import Lock
from typing import Any

from remit.v1.policy_service_pb2 import WatchRevisionResponse


class DecisionCache:
    """Responses to single questions of either plane, each kept while a watch says that its revision is the tenant's.

    Nothing is served without a watch, and only to the very same question: all fields of its request alike.
    """

    def __init__(self, size: int) -> None:
        """`size`: how many responses are kept. The least recently used one goes first."""
        self._size = size
        self._mutex = Lock()
        self._current: dict[str, str] = {}
        """By tenant, the revision that is served now as far as anybody has told."""
        self._kept: OrderedDict[tuple[str, str, bytes], Any] = OrderedDict()
        """By tenant, revision and question."""

    def get(self, request: Any) -> Any:
        """The response by the tenant's present revision; None where the server must be asked."""
        with self._mutex:
            revision = self._current.get(request.tenant)
            if revision is None:
                return None
            key = (request.tenant, revision, _question(request))
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, request: Any, response: Any) -> None:
        """Keeps a response of the revision that the watch told. One of another says that the watch is behind: then
        nothing is served for the tenant until it tells again, lest an older answer follows a newer one."""
        with self._mutex:
            if response.revision != self._current.get(request.tenant):
                self._current.pop(request.tenant, None)
                return
            self._kept[request.tenant, response.revision, _question(request)] = response
            if len(self._kept) > self._size:
                self._kept.popitem(last=False)

    def changed(self, change: WatchRevisionResponse) -> None:
        """What the watch tells of a tenant."""
        with self._mutex:
            self._current.pop(change.tenant, None)
            if change.revision:
                self._current[change.tenant] = change.revision
            for key in [key for key in self._kept if key[0] == change.tenant and key[1] != change.revision]:
                del self._kept[key]

    def unwatched(self) -> None:
        """Nothing is served until a watch tells again."""
        with self._mutex:
            self._current.clear()


def _question(request: Any) -> bytes:
    return b"%s %s" % (request.DESCRIPTOR.full_name.encode(), request.SerializeToString(deterministic=True))
