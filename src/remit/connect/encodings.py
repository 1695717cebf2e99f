"""The encodings of messages over HTTP: protobuf and its JSON."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import Message

from remit.rpc.errors import MalformedMessageError

PROTO: Final = "proto"
JSON: Final = "json"
MOST_QUICK_BYTES: Final = {PROTO: 262_144, JSON: 8_192}
"""Longer messages are parsed in a thread: the event loop serves every caller."""
_SHOWN: Final = 500


class Sent(NamedTuple):
    """A request as it came. The boundary parses it, once it knows who sends it."""

    encoding: str
    message: bytes


class Codec:
    """Leaves messages as they are, for `connectrpc`: requests are parsed, and responses serialized, in the boundary."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def name(self) -> str:
        return self._encoding

    def encode(self, message: bytes) -> bytes:
        return message

    def decode(self, data: bytes | bytearray, message_class: type) -> Sent:
        del message_class
        return Sent(self._encoding, bytes(data))


def json_parser(message_class: type[Message]) -> Callable[[bytes], Message]:
    """A function that raises MalformedMessageError for a message that is not JSON, or has a field that is unknown."""

    def parse(message: bytes) -> Message:
        try:
            return Parse(message, message_class())
        except (ParseError, ValueError, RecursionError) as error:
            text = " ".join(str(error).split())
            shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
            raise MalformedMessageError(f"no JSON of `{message_class.DESCRIPTOR.full_name}`: {shown}") from None

    return parse


def to_json(message: Any) -> bytes:
    """One line, for terminals."""
    return f"{MessageToJson(message, indent=None, ensure_ascii=False)}\n".encode()
