"""Many rows as one text: lines of columns between tabs, deflated, in Base64. Reading takes no more memory than a piece."""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from typing import Final

_PIECE: Final = 1 << 20
_MOST_BYTES: Final = 1 << 30
"""What a text may unpack to. A store may be forged."""


def pack(lines: Iterable[str]) -> str:
    """The text of these lines, which have no line breaks and are ASCII."""
    deflate = zlib.compressobj(1)
    packed, waiting, size = [], [], 0
    for line in lines:
        waiting.append(line)
        size += len(line)
        if size > _PIECE:
            packed.append(deflate.compress(_joined(waiting)))
            waiting, size = [], 0
    packed += deflate.compress(_joined(waiting)), deflate.flush()
    return b64encode(b"".join(packed)).decode()


def unpack(text: str) -> Iterator[list[str]]:
    """The columns of each line. Raises ValueError if the text is damaged, or unpacks to too much."""
    inflate = zlib.decompressobj()
    rest, read = "", 0
    try:
        left = b64decode(text, validate=True)
        while not inflate.eof:
            piece = inflate.decompress(left, _PIECE)
            left = inflate.unconsumed_tail
            read += len(piece)
            if not piece and not inflate.eof:
                raise ValueError("packed rows end early")
            if read > _MOST_BYTES:
                raise ValueError("packed rows are too long")
            *lines, rest = (rest + piece.decode("ascii")).split("\n")
            for line in lines:
                yield line.split("\t")
    except zlib.error as error:
        raise ValueError(f"packed rows are damaged: {error}") from None
    if rest:
        raise ValueError("packed rows end in the middle of a line")


def _joined(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("ascii")
