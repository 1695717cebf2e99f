"""The errors of calls over HTTP, as gRPC raises those of its own."""

from typing import Any, Final

import grpc
from google.rpc import status_pb2

_DETAILS: Final = "grpc-status-details-bin"


class HttpCallError(grpc.RpcError):
    """A call without an answer."""

    def __init__(self, code: grpc.StatusCode, details: str, status: status_pb2.Status | None = None) -> None:
        """`status` holds the details of the server, with the same code and text."""
        super().__init__(f"{code.name}: {details}")
        self._code = code
        self._details = details
        self._metadata = () if status is None else ((_DETAILS, status.SerializeToString()),)

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata


def late() -> HttpCallError:
    return HttpCallError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


def cancelled() -> HttpCallError:
    return HttpCallError(grpc.StatusCode.CANCELLED, "the call was cancelled by the client")


def broken(url: str, error: Exception) -> HttpCallError:
    """The connection failed, or what came over it is not HTTP."""
    return HttpCallError(grpc.StatusCode.UNAVAILABLE, f"no answer of `{url}`: {str(error) or type(error).__name__}")
