"""Asks a server over HTTP by httpx, which knows nothing of Connect: the bytes on the wire are written here."""

import base64
import json
import ssl
import struct
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from google.protobuf.json_format import MessageToDict, Parse
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from support.server import DEADLINE_S

from remit.client import DecisionUnavailable
from remit.client.stubs import METHODS
from remit.core.errors import FieldViolation

PROTO, JSON = "proto", "json"


class HttpApi:
    """The methods of the protos by the Connect protocol."""

    def __init__(
        self,
        port: int,
        encoding: str = PROTO,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> None:
        self.encoding = encoding
        scheme = "http" if tls is None else "https"
        self.http = httpx.Client(
            base_url=f"{scheme}://127.0.0.1:{port}",
            verify=tls or False,
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
        )

    def post(self, path: str, message: Message, **headers: str) -> httpx.Response:
        """A unary call, whatever comes back."""
        sent = {"content-type": f"application/{self.encoding}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(path, content=self.encoded(message), headers=sent)

    def ask(self, request: Message, **headers: str) -> Any:
        """The response, as `Client.ask`. Raises DecisionUnavailable."""
        path, response_class = METHODS[request.DESCRIPTOR.full_name]
        response = self.post(path, request, **headers)
        if response.status_code != 200:
            raise unavailable(response)
        return self.decoded(response.content, response_class)

    def encoded(self, message: Message) -> bytes:
        if self.encoding == PROTO:
            return message.SerializeToString()
        return json.dumps(MessageToDict(message)).encode()

    def decoded(self, content: bytes, response_class: Any) -> Any:
        return response_class.FromString(content) if self.encoding == PROTO else Parse(content, response_class())

    def stream(self, path: str, request: Message, response_class: Any) -> Iterator[Any]:
        """The responses of a stream, as they come. Raises DecisionUnavailable at its end if that is an error."""
        body = self.encoded(request)
        headers = {"content-type": f"application/connect+{self.encoding}"}
        framed = struct.pack(">BI", 0, len(body)) + body
        with self.http.stream("POST", path, content=framed, headers=headers) as response:
            assert response.status_code == 200, response.read()
            received = b""
            for part in response.iter_raw():
                received += part
                while len(received) >= 5 and len(received) >= 5 + (length := struct.unpack(">I", received[1:5])[0]):
                    flags, content, received = received[0], received[5 : 5 + length], received[5 + length :]
                    if flags & 2:
                        if error := json.loads(content).get("error"):
                            raise DecisionUnavailable(error["code"].upper(), error.get("message", ""))
                        return
                    yield self.decoded(content, response_class)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self.http.close()


def unavailable(response: httpx.Response) -> DecisionUnavailable:
    """The error that the response tells."""
    error = response.json()
    found = details(error).get("google.rpc.BadRequest", b"")
    violations = error_details_pb2.BadRequest.FromString(found).field_violations
    return DecisionUnavailable(
        error["code"].upper().replace("CANCELED", "CANCELLED"),
        error.get("message", ""),
        [FieldViolation(each.field, each.description) for each in violations],
    )


def details(error: Mapping[str, Any]) -> dict[str, bytes]:
    """The serialized details of an error, by their type."""
    return {each["type"]: base64.b64decode(f"{each['value']}===") for each in error.get("details", ())}
