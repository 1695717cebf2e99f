"""What servicers know of the call that they answer."""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final, NoReturn, Protocol

import grpc

from remit.service.callers import Caller
from remit.service.decision_point import PendingAnswer


class CallContext(Protocol):
    """The part of `grpc.ServicerContext` that the boundary and the servicers use. A call over HTTP has one too."""

    def invocation_metadata(self) -> Any: ...

    def auth_context(self) -> Mapping[str, Iterable[bytes]]: ...

    def peer(self) -> str:
        """The connection's other end."""

    def time_remaining(self) -> float:
        """Seconds until the caller's deadline; infinite without one."""

    def is_active(self) -> bool: ...

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Calls `callback` when the call ends. False if it has ended already."""

    def abort(self, code: grpc.StatusCode, details: str) -> NoReturn: ...

    def abort_with_status(self, status: grpc.Status) -> NoReturn: ...


caller: ContextVar[Caller] = ContextVar("caller")
"""The caller of the call that is being answered."""
still_called: ContextVar[Callable[[], None]] = ContextVar("still_called")
"""For streams: raises the error that ends the stream if its credential does not name that caller any more."""

AtOnce = Callable[[Any, Any], PendingAnswer[Any] | None]
"""From a request and its context to a pending answer; None if the call needs a thread."""
AT_ONCE: Final = "at_once"
"""The attribute of a servicer that maps methods to `AtOnce` functions."""
