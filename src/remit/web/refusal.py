"""Statuses of calls over HTTP: the table of `rpc.errors`, in HTTP's numbers."""

from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2

_CLIENT_CLOSED_REQUEST: Final = 499
"""As other servers say it; there is no such status in the standard."""
HTTP_STATUS_OF: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.CANCELLED: _CLIENT_CLOSED_REQUEST,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
}
"""As the Connect protocol maps them. Any other status is 500."""
_RETRY_S: Final = 1


class RefusedCall(Exception):  # noqa: N818 (a status, not an error of the server)
    """The status of a call that is not answered."""

    def __init__(
        self, code: grpc.StatusCode, text: str, details: bytes = b"", *, http_status: int | None = None
    ) -> None:
        """`details` is a serialized `google.rpc.Status`; empty for none. `http_status` takes the place of the table's."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.http_status: int = HTTP_STATUS_OF.get(code, 500) if http_status is None else http_status
        self.status = status_pb2.Status.FromString(details)
        """Its `details` are the error's; there may be none."""

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers that the response needs."""
        if self.code is grpc.StatusCode.UNAUTHENTICATED:
            return [("www-authenticate", 'Bearer realm="remit"')]
        for detail in self.status.details:
            retry = error_details_pb2.RetryInfo()
            if detail.Unpack(retry):
                return [("retry-after", str(ceil(retry.retry_delay.ToNanoseconds() / 1e9)))]
        if self.code is grpc.StatusCode.UNAVAILABLE:
            return [("retry-after", str(_RETRY_S))]
        return []
