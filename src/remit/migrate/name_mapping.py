"""Maps names outside remit's grammar to names inside it, reversibly.

An ID keeps what the grammar allows. Every other byte, and `%`, becomes `%` with two hexadecimal digits. In a kind, an
action, a tenant or a segment of a namespace, every byte that the grammar forbids becomes `__` with two hexadecimal
digits, as does the first of two underscores. If the result has an invalid beginning, it gets the prefix `X` (`x` in
tenants and namespaces).
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

_ID_BYTES: Final = frozenset(b"!$&'+-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz~")
_ESCAPE: Final = re.compile(rb"__([0-9A-Fa-f]{2})")
_DIGITS: Final = b"0123456789"
_LOWER: Final = b"abcdefghijklmnopqrstuvwxyz"


def encode_id(text: str) -> str:
    return "".join(chr(byte) if byte in _ID_BYTES else f"%{byte:02X}" for byte in text.encode())


def decode_id(text: str) -> str:
    return unquote_to_bytes(text).decode()


def encode_word(text: str) -> str:
    return _encode(text.encode(), frozenset(_LOWER + _LOWER.upper()), frozenset(_DIGITS + b"_"), "X")


def encode_segment(text: str) -> str:
    return _encode(text.encode(), frozenset(_LOWER + _DIGITS), frozenset(b"_-"), "x").lower()


def decode_word(text: str) -> str:
    return _decode(text, "X")


def decode_segment(text: str) -> str:
    return _decode(text, "x")


def _encode(text: bytes, first: frozenset[int], inner: frozenset[int], prefix: str) -> str:
    parts = []
    for index, byte in enumerate(text):
        kept = byte in first or (byte in inner and index > 0)
        doubled = byte == ord("_") and text[index + 1 : index + 2] == b"_"
        parts.append(chr(byte) if kept and not doubled else f"__{byte:02X}")
    encoded = "".join(parts)
    if encoded.startswith(f"{prefix}__"):
        encoded = f"__{ord(prefix):02X}{encoded[1:]}"
    return f"{prefix}{encoded}" if encoded.startswith("__") else encoded


def _decode(text: str, prefix: str) -> str:
    stripped = text.removeprefix(prefix) if text.startswith(f"{prefix}__") else text
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), stripped.encode()).decode()
