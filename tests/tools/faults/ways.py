"""How the load of the faults asks: over gRPC, or over HTTP."""

import json
from http.client import HTTPConnection, HTTPException
from threading import local
from typing import Any, Final, Protocol

import grpc
from google.protobuf.message import Message

from remit.client.stubs import METHODS, rpcs_over
from remit.pytest_plugin.server_process import DEADLINE_S, ServerProcess

_OK: Final = 200


class CallFailedError(Exception):
    """There is no answer."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Asks(Protocol):
    """A way to ask a server. Threads may share it."""

    def ask(self, request: Message) -> Any:
        """The response. Raises CallFailedError."""

    def close(self) -> None: ...


class OverGrpc:
    """One connection for all threads."""

    def __init__(self, server: ServerProcess) -> None:
        self._channel = server.channel()
        self._rpcs = rpcs_over(self._channel)

    def ask(self, request: Message) -> Any:
        try:
            return self._rpcs[request.DESCRIPTOR.full_name](request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            raise CallFailedError(error.code(), error.details() or "") from None
        except ValueError as error:  # the channel is closed
            raise CallFailedError(grpc.StatusCode.CANCELLED, str(error)) from None

    def close(self) -> None:
        self._channel.close()


class OverHttp:
    """By the Connect protocol, with a connection for each thread."""

    def __init__(self, server: ServerProcess) -> None:
        self._port = server.http_port
        self._of_thread = local()
        self._connections: list[HTTPConnection] = []

    def ask(self, request: Message) -> Any:
        path, response_class = METHODS[request.DESCRIPTOR.full_name]
        headers = {"content-type": "application/proto", "connect-timeout-ms": str(int(DEADLINE_S * 1000))}
        try:
            connection = self._connection()
            connection.request("POST", path, request.SerializeToString(), headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            # A new call opens it again.
            self._connection().close()
            raise CallFailedError(grpc.StatusCode.UNAVAILABLE, str(error)) from None
        if response.status != _OK:
            told = json.loads(body)
            raise CallFailedError(grpc.StatusCode[told["code"].upper()], told["message"])
        return response_class.FromString(body)

    def close(self) -> None:
        for each in self._connections:
            each.close()

    def _connection(self) -> HTTPConnection:
        connection: HTTPConnection | None = getattr(self._of_thread, "connection", None)
        if connection is None:
            connection = self._of_thread.connection = HTTPConnection("127.0.0.1", self._port, timeout=DEADLINE_S)
            self._connections.append(connection)
        return connection
