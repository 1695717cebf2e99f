import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from remit.client.call import Stream
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.core.errors import FieldViolation

_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 1.0
_RETRIED: Final = {
    grpc.StatusCode.UNAVAILABLE,
    # A server that stops answers so to calls that it has not started.
    grpc.StatusCode.CANCELLED,
}
# gRPC's default pause between two attempts to connect grows to two minutes.
CHANNEL_OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", int(_LONGEST_PAUSE_S * 1000)),
    # A graph of 10,000 nodes and 50,000 edges is larger than gRPC's default of 4 MiB.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


class RetryPolicy:
    """The deadline of one call and the pauses between its attempts."""

    def __init__(self, timeout_s: float) -> None:
        self._deadline = time.monotonic() + timeout_s
        self._pause_s = _FIRST_PAUSE_S
        self._retried: grpc.RpcError | None = None

    @property
    def left_s(self) -> float:
        return max(self._deadline - time.monotonic(), 0)

    def pause_s(self, error: grpc.RpcError) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        asked_s = _retry_delay_s(error) if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED else None
        # Random, so that clients do not retry all at once.
        pause_s = (asked_s or 0) + self._pause_s * random.uniform(0.5, 1)
        if (error.code() not in _RETRIED and asked_s is None) or pause_s >= self.left_s:
            return None
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        self._retried = error
        return pause_s

    def answered(self) -> None:
        """The next call within this deadline has had no attempt yet."""
        self._retried = None

    def reason(self, error: grpc.RpcError) -> grpc.RpcError:
        """What to tell of a call whose last attempt failed with `error`. A deadline that passes during a further attempt says
        less than the attempt before it."""
        is_late = error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return self._retried if is_late and self._retried is not None else error


@contextmanager
def only_questions() -> Iterator[None]:
    """Turns the errors of values that fit no request into MalformedQuestion."""
    try:
        yield
    except (AttributeError, TypeError, ValueError) as error:
        raise MalformedQuestion(str(error)) from error


@contextmanager
def only_open_channels() -> Iterator[None]:
    """Turns the errors of a closed channel into DecisionUnavailable."""
    try:
        yield
    except (AttributeError, TypeError, ValueError, grpc.aio.UsageError) as error:
        raise DecisionUnavailable("CANCELLED", str(error)) from error


def require_end(stream: Stream[Any]) -> None:
    """Raises DecisionUnavailable if the server ended a stream that has no end."""
    if not stream.has_end:
        raise DecisionUnavailable("INTERNAL", "the server ended the stream without an error")


def no_uploads() -> DecisionUnavailable:
    return DecisionUnavailable("UNIMPLEMENTED", "an import is a stream of requests, which needs gRPC: name HOST:PORT")


def kept(requests: Iterator[Message], wrong: list[Exception]) -> Iterator[Message]:
    """The requests of a stream. What makes the next one impossible is kept in `wrong`: gRPC hides it."""
    try:
        yield from requests
    except Exception as error:
        wrong.append(error)
        raise


def unavailable(error: grpc.RpcError, cause: str) -> DecisionUnavailable:
    """The error for a call without an answer. `cause` is told in place of gRPC's text, unless it is empty."""
    message = cause or error.details() or "no details"
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return MalformedQuestion(message, _violations(error))
    return DecisionUnavailable(error.code().name, message, _violations(error))


def _violations(error: grpc.RpcError) -> list[FieldViolation]:
    bad_request = error_details_pb2.BadRequest()
    if not _unpack(error, bad_request):
        return []
    return [FieldViolation(each.field, each.description) for each in bad_request.field_violations]


def _retry_delay_s(error: grpc.RpcError) -> float | None:
    """When the server says that the call may be tried again; None if it does not say so."""
    retry = error_details_pb2.RetryInfo()
    if not _unpack(error, retry):
        return None
    delay_s: float = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
    return max(delay_s, 0.0)


def _unpack(error: grpc.RpcError, detail: Message) -> bool:
    """Whether the error has details of this type; `detail` is then filled."""
    try:
        status = rpc_status.from_call(error)
        return status is not None and any(each.Unpack(detail) for each in status.details)
    except (DecodeError, ValueError):
        # A proxy sent details that contradict their status or cannot be read.
        return False
