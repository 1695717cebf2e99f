"""What servicers know of the call that they answer."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

import grpc
from google.protobuf.message import Message

from remit.service.callers import Caller
from remit.service.decision_point import PendingAnswer

caller: ContextVar[Caller] = ContextVar("caller")
"""The caller of the call that is being answered."""
still_called: ContextVar[Callable[[], None]] = ContextVar("still_called")
"""For streams: raises the error that ends the stream if its credential does not name that caller any more."""

AtOnce = Callable[[Any, grpc.ServicerContext], PendingAnswer[Message] | None]
"""Returns a pending answer; None if the call needs a thread."""
AT_ONCE: Final = "at_once"
"""The attribute of a servicer that maps methods to `AtOnce` functions."""
