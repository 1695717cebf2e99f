"""What the boundary needs of a call, however it came."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import grpc
from google.protobuf.message import Message

from remit.rpc.call_limits import HasPlaces


class ArrivedCall(HasPlaces, Protocol):
    """A call whose request is here. It holds no thread until the boundary gives it one."""

    context: Any
    """A `CallContext`. Servicers take it for a `grpc.ServicerContext`."""

    def expire_after(self, timeout_s: float, expired: Callable[[], None]) -> None:
        """Calls `expired` soon after the timeout, unless somebody claims the call before."""

    def claim(self) -> bool:
        """True for the first thread that claims a call that may expire: only that thread may answer it."""

    def serialized(self, response: Message) -> Any: ...

    def answer(self, response: Any) -> None:
        """Ends the call. `response` is serialized. Any thread may call it."""

    def refuse(self) -> None:
        """Ends the call with the status that `context.abort` set, otherwise UNKNOWN."""

    def turn_away(self, code: grpc.StatusCode, text: str, details: bytes = b"") -> None:
        """Ends a call that nothing else handles. `details` is a serialized `google.rpc.Status`; empty for none."""

    def answer_in_thread(self, request: Any) -> None:
        """Answers the call in the current thread. `request` is what the boundary's function gets."""


class PermittedRequest(NamedTuple):
    """A request that the boundary has parsed and permitted already."""

    request: Any
