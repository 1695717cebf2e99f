"""Calls of every method that are almost right: valid requests, and what is changed in them."""

import functools
import importlib
import pkgutil
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import remit.v1

_LONGEST: Final = 12_000
"""Bytes of a message. Whole batches of them fit the windows of HTTP/2."""
_DEEPEST: Final = 3
_MESSAGES: Final = 300
NASTY: Final = (
    "",
    "*",
    "acme.**",
    "_instance",
    "_callers",
    "..",
    "a" * 600,
    "\0",
    "\n",
    "\u202e",
    "user:",
    "user:role:x",
    "'; DROP TABLE decisions; --",
    "[" * 300,
    "9" * 30,
    "\U0001f600",
)
_ID: Final = "0190163d-8694-739b-aea5-966c26f8ad91"
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "tenant": ("acme", "globex", "initech", "nobody"),
    "principal": ("user:bob", "user:carol", "service:orchestrator", "user:nobody"),
    "action": ("VIEW", "UPDATE", "DELETE", "EXECUTE"),
    "kind": ("FLOW", "SECRET", "NAMESPACE"),
    "kinds": ("FLOW", "SECRET"),
    "namespace": ("acme", "acme.finance", "acme.data.etl", "globex"),
    "caller": ("acme.finance", "acme.people"),
    "owner": ("acme.finance", "acme.data"),
    "owners": ("acme.finance", "acme.data"),
    "among": ("acme.finance", "acme.data"),
    "operation": ("flow.run",),
    "service": ("", "tenant/acme", "audit/store"),
    "list_services": ("",),
    "revision": ("", "", "", "", "0" * 64),
    "on_behalf_of": ("", "user:carol"),
    "id": (_ID,),
    "ids": (_ID,),
    "after": ("", "", _ID),
    "relation": ("SUBFLOW", "KV", "SECRET", "FILES"),
    "relations": ("SUBFLOW", "KV", "SECRET", "FILES"),
    "type": ("", "SERVER_STARTED", "POLICY_LOADED"),
    "node": ("", "node-1"),
    "page_token": ("", "", "", "WyJhIiwgIiIsICJmZiJd"),
    "cursor": ("", "", "", "WyJhIiwgIiIsICJmZiJd"),
}


class Method(NamedTuple):
    path: str
    request: Descriptor
    streams: bool


class HostileCall(NamedTuple):
    """A call as it goes over the wire."""

    path: str
    headers: Mapping[bytes, bytes]
    """What it has besides the usual ones, or instead of them."""
    body: bytes
    """The frame of gRPC: a flag, a length, the message."""
    lasts: bool
    """It may stay open: it is a stream, or its message is never whole."""
    change: str
    framed: bool
    """gRPC's own frame and headers are as they must be: otherwise the library answers, and may say INTERNAL."""


def methods() -> list[Method]:
    modules = [
        importlib.import_module(f"remit.v1.{each.name}")
        for each in pkgutil.iter_modules(remit.v1.__path__)
        if each.name.endswith("_service_pb2")
    ]
    services = [
        service
        for module in (*modules, health_pb2, reflection_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
    ]
    return [
        Method(f"/{service.full_name}/{method.name}", method.input_type, method.server_streaming)
        for service in services
        for method in service.methods
    ]


METHODS: Final = methods()


def hostile_call(rng: Random) -> HostileCall:
    method = rng.choice(METHODS)
    message = _serialized(method.request, rng)
    change = rng.choice(_CHANGES)
    call = HostileCall(method.path, {}, b"", method.streams, change.__name__.strip("_"), framed=True)
    if change in _OF_MESSAGES:
        message = change(message, rng)[:_LONGEST]
        if rng.random() < 0.2:
            message = rng.choice(_OF_MESSAGES)(message, rng)[:_LONGEST]
    call = call._replace(body=framed(message))
    return change(call, rng) if change in _OF_CALLS else call


def framed(message: bytes) -> bytes:
    return struct.pack(">BI", 0, len(message)) + message


# Valid requests.


def valid(descriptor: Descriptor, rng: Random, depth: int = 0) -> Message:
    """A request whose fields hold what the example company knows, and now and then what nobody should send."""
    message = GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if rng.random() < 0.05:
            continue
        if field.message_type is not None and depth >= _DEEPEST:
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.is_repeated:
            values = [_value(field, rng, depth) for _ in range(rng.randrange(4))]
            getattr(message, field.name).extend(values)
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(_value(field, rng, depth))
        else:
            setattr(message, field.name, _value(field, rng, depth))
    return message


def _value(field: FieldDescriptor, rng: Random, depth: int) -> Any:
    if field.message_type is not None:
        return valid(field.message_type, rng, depth + 1)
    if field.enum_type is not None:
        return rng.choice([*field.enum_type.values_by_number, 77])
    if field.type == FieldDescriptor.TYPE_STRING:
        names = _NAMES.get(field.name, ("", "x", "flow-1"))
        return rng.choice(names) if rng.random() < 0.98 else rng.choice(NASTY)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.randbytes(rng.choice((0, 1, 16, 32)))
    if field.type == FieldDescriptor.TYPE_BOOL:
        return rng.random() < 0.5
    if field.type in {FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT}:
        return rng.choice((0.0, 1.5, float("inf"), float("nan")))
    low, high = _RANGES[field.type]
    return rng.choice((0, 1, 2, 50, low, high))


_RANGES: Final = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


def _serialized(descriptor: Descriptor, rng: Random) -> bytes:
    return rng.choice(_valid_messages(descriptor.full_name))


@functools.cache
def _valid_messages(name: str) -> list[bytes]:
    """Some hundred, the same in each run: to make one takes longer than to change it."""
    descriptor = next(method.request for method in METHODS if method.request.full_name == name)
    rng = Random(name)
    return [valid(descriptor, rng).SerializeToString() for _ in range(_MESSAGES)]


# Changes of a message.


def _nothing(message: bytes, _: Random) -> bytes:
    return message


def _bits(message: bytes, rng: Random) -> bytes:
    changed = bytearray(message)
    for _ in range(rng.choice((1, 1, 2, 8)) if message else 0):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _byte(message: bytes, rng: Random) -> bytes:
    """Lengths, field numbers and types are single bytes in most messages."""
    place = rng.randrange(len(message) + 1)
    value = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))])
    return message[:place] + value + message[place + rng.randrange(2) :]


def _cut(message: bytes, rng: Random) -> bytes:
    return message[: rng.randrange(len(message) + 1)]


def _without_a_piece(message: bytes, rng: Random) -> bytes:
    begin = rng.randrange(len(message) + 1)
    return message[:begin] + message[begin + rng.randrange(16) :]


def _field(message: bytes, rng: Random) -> bytes:
    """An unknown field, or a known one of another type, before or behind."""
    number, kind = rng.choice((1, 2, 3, 4, 7, 15, 100, 536_870_911, 0)), rng.randrange(8)
    payload = rng.choice((b"", b"\0", b"\x05abc", b"\xff" * 10, b"\x03abc", rng.randbytes(8)))
    added = _varint(number << 3 | kind) + payload
    return added + message if rng.random() < 0.5 else message + added


def _merged(message: bytes, rng: Random) -> bytes:
    """Fields that occur twice: the last one counts, or they are merged."""
    return message + (message if rng.random() < 0.5 else _serialized(rng.choice(METHODS).request, rng))


def _repeated(message: bytes, rng: Random) -> bytes:
    return message * rng.choice((2, 10, 100))


def _nested(message: bytes, rng: Random) -> bytes:
    """Each level is a field of the length that follows; or groups that never end."""
    if rng.random() < 0.3:
        return message + b"\x0b" * rng.randrange(200)
    for _ in range(rng.randrange(120)):
        message = bytes([rng.choice((0x0A, 0x12, 0x1A))]) + _varint(len(message)) + message
    return message


def _length(message: bytes, rng: Random) -> bytes:
    """The first field says that it is longer than all of the message."""
    return message[:1] + _varint(rng.choice((2**31 - 1, 2**32, 2**63, len(message) + 1))) + message[2:]


def _of_another_method(_: bytes, rng: Random) -> bytes:
    return _serialized(rng.choice(METHODS).request, rng)


def _random(_: bytes, rng: Random) -> bytes:
    return rng.randbytes(rng.randrange(64))


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*encoded, number))


_OF_MESSAGES: Final[tuple[Callable[[bytes, Random], bytes], ...]] = (
    _nothing,
    _bits,
    _byte,
    _cut,
    _without_a_piece,
    _field,
    _merged,
    _repeated,
    _nested,
    _length,
    _of_another_method,
    _random,
)


# Changes of the call around it.


def _path(call: HostileCall, rng: Random) -> HostileCall:
    service, _, method = call.path.rpartition("/")
    paths = (
        f"{service}/{method}x",
        f"{service}x/{method}",
        f"{service}/",
        "/",
        "//",
        call.path.lower(),
        "/" + "a" * 90,
    )
    return call._replace(path=rng.choice(paths))


def _header(call: HostileCall, rng: Random) -> HostileCall:
    return call._replace(headers=dict([rng.choice(_HEADERS)]))


def _protocol(call: HostileCall, rng: Random) -> HostileCall:
    return call._replace(headers=dict([rng.choice(_PROTOCOL_HEADERS)]), framed=False)


def _frame(call: HostileCall, rng: Random) -> HostileCall:
    flag, length = rng.choice((0, 1, 2, 255)), rng.choice((0, 1, len(call.body), 2**31, 2**32 - 1))
    body = rng.choice((struct.pack(">BI", flag, length) + call.body[5:], call.body[:3], b"", call.body + call.body))
    return call._replace(body=body, framed=False, lasts=True)


_HEADERS: Final = (
    (b"traceparent", b"\xff\xfe"),
    (b"traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"),
    (b"authorization", b"Bearer x.y.z"),
    (b"authorization", b"Bearer " + b"A" * 100),
    (b"authorization", b"Basic eDp5"),
    (b"authorization", b""),
    (b"authorization-bin", b"AAAA"),
    (b"x-forwarded-client-cert", b"URI=spiffe://acme.example/oncall"),
    (b"x-remote-user", b"root"),
    (b"x-tenant-id", b"globex"),
    (b":authority", b"globex.example"),
    (b"user-agent", b"\x7f" * 100),
    (b"grpc-accept-encoding", b"nonsense,gzip"),
    (b"other-bin", b"AAAA"),
)
_PROTOCOL_HEADERS: Final = (
    (b"grpc-timeout", b"-1S"),
    (b"grpc-timeout", b"99999999H"),
    (b"grpc-timeout", b"1n"),
    (b"grpc-timeout", b"abc"),
    (b"grpc-encoding", b"gzip"),
    (b"grpc-encoding", b"nonsense"),
    (b"content-type", b"text/html"),
    (b"content-type", b"application/grpc+json"),
    (b"te", b"gzip"),
    (b"other-bin", b"!!!"),
    (b":method", b"GET"),
    (b":scheme", b"ftp"),
    (b"connection", b"close"),
    (b"UPPER", b"case"),
)
_OF_CALLS: Final[tuple[Callable[[HostileCall, Random], HostileCall], ...]] = (_path, _header, _protocol, _frame)
_CHANGES: Final[tuple[Callable[..., Any], ...]] = (*_OF_MESSAGES, *_OF_CALLS)
