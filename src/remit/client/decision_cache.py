from collections import OrderedDict
from threading import Lock
from typing import Any

from remit.client.decode import reaches
from remit.client.forks import FORKS, Forkable
from remit.v1.policy_service_pb2 import WatchRevisionResponse


class DecisionCache(Forkable):
    """A cache of responses to single questions. It serves a response only while a watch says that the response's
    revision serves the tenant.

    Without a watch it serves nothing. All fields of the two requests must be equal, except `at_least`: the response
    must be at that position or a later one.
    """

    def __init__(self, size: int) -> None:
        """`size` is the number of responses; the least recently used one is removed first."""
        self._size = size
        self._mutex = Lock()
        self._current: dict[str, str] = {}
        """By tenant: the revision that serves now, as the watch last reported."""
        self._responses: OrderedDict[tuple[str, str, bytes], Any] = OrderedDict()
        """By tenant, revision and request."""
        FORKS.add(self)

    def after_fork_in_child(self) -> None:
        """The child serves no answer that its parent's watch vouched for."""
        self._mutex = Lock()
        self._current.clear()
        self._responses.clear()

    def get(self, request: Any) -> Any:
        """The response by the tenant's current revision; None if the server must be asked."""
        with self._mutex:
            revision = self._current.get(request.tenant)
            if revision is None:
                return None
            key = (request.tenant, revision, _question(request))
            response = self._responses.get(key)
            if response is None or (request.at_least and not reaches(response.position, request.at_least)):
                return None
            self._responses.move_to_end(key)
            return response

    def put(self, request: Any, response: Any) -> None:
        """Keeps the response if it is of the revision that the watch reported. Another revision means that the watch is
        late. Then the cache serves nothing for the tenant until the next report, so that no older answer follows a
        newer one."""
        with self._mutex:
            if response.revision != self._current.get(request.tenant):
                self._current.pop(request.tenant, None)
                return
            self._responses[request.tenant, response.revision, _question(request)] = response
            if len(self._responses) > self._size:
                self._responses.popitem(last=False)

    def changed(self, change: WatchRevisionResponse) -> None:
        """Takes a report of the watch."""
        with self._mutex:
            self._current.pop(change.tenant, None)
            if change.revision:
                self._current[change.tenant] = change.revision
            for key in [key for key in self._responses if key[0] == change.tenant and key[1] != change.revision]:
                del self._responses[key]

    def unwatched(self) -> None:
        """Serves nothing until the watch reports again."""
        with self._mutex:
            self._current.clear()


def _question(request: Any) -> bytes:
    if request.at_least:
        whole, request = request, type(request)()
        request.CopyFrom(whole)
        request.ClearField("at_least")
    return b"%s %s" % (request.DESCRIPTOR.full_name.encode(), request.SerializeToString(deterministic=True))
