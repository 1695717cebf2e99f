"""UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits, so byte order is the order of time.

An id carries milliseconds. Ranges of ids narrow a search by time; `time_us` of the row decides exactly.
"""

import re
import time
from collections.abc import Callable
from random import Random
from threading import Lock

_MAX_MS = (1 << 48) - 1
_LOW_BITS = 62
_LOW_END = 1 << _LOW_BITS
_VERSION = 7 << 76
_VARIANT = 2 << 62
_STEP_BITS = 32
_NS_PER_MS = 1_000_000
_US_PER_MS = 1_000
_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


class DecisionIds:
    """Makes ids that always grow within this object, even if the clock stands still or steps back.

    Within one millisecond (and while the clock is behind the last id) the lowest 62 bits grow by a random step of up to
    2**32. Each new millisecond starts from fresh random bits. Thread-safe. `random` is any `random.Random`; ids are
    unique, not secret.
    """

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns, random: Random | None = None) -> None:
        self._clock_ns = clock_ns
        self._bits = (Random() if random is None else random).getrandbits
        self._lock = Lock()
        self._ms = -1
        self._head = 0
        self._low = 0

    def next(self) -> bytes:
        with self._lock:
            ms = self._clock_ns() // _NS_PER_MS
            if ms > self._ms:
                self._begin(ms)
            else:
                self._low += self._bits(_STEP_BITS) + 1
                if self._low >= _LOW_END:
                    self._begin(self._ms + 1)
            return (self._head | self._low).to_bytes(16)

    def take(self, n: int) -> list[bytes]:
        return self.stamp(n)[1]

    def stamp(self, n: int = 1) -> tuple[int, list[bytes]]:
        """The time in microseconds and `n` ascending ids that carry its millisecond.

        The time is the clock's, but stands still while the clock is behind the last id. A search by time therefore
        finds records stamped here, whatever the clock did.
        """
        with self._lock:
            us = self._clock_ns() // _US_PER_MS
            ms = us // _US_PER_MS
            bits = self._bits
            ids: list[bytes] = []
            if ms > self._ms:
                self._begin(ms)
            else:
                self._low += bits(_STEP_BITS) + 1
                if self._low + (n << _STEP_BITS) >= _LOW_END:
                    self._begin(self._ms + 1)
            head, low = self._head, self._low
            for _ in range(n):
                ids.append((head | low).to_bytes(16))
                low += bits(_STEP_BITS) + 1
            self._low = low
            if ms < self._ms:
                us = self._ms * _US_PER_MS + _US_PER_MS - 1
            return us, ids

    def _begin(self, ms: int) -> None:
        self._ms = ms
        self._head = (ms << 80) | _VERSION | (self._bits(12) << 64) | _VARIANT
        self._low = self._bits(_LOW_BITS - 1)


def format_id(value: bytes) -> str:
    """Canonical text: `0190163d-8694-739b-aea5-966c26f8ad91`."""
    text = value.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_id(text: str) -> bytes:
    """The 16 bytes of a UUIDv7 in canonical text, either case. Raises ValueError for any other text."""
    lower = text.lower()
    if not text.isascii() or _CANONICAL.fullmatch(lower) is None:
        raise ValueError(
            f"`{text}` is no decision id: expected a UUIDv7 such as `0190163d-8694-739b-aea5-966c26f8ad91`"
        )
    return bytes.fromhex(lower.replace("-", ""))


def id_time_ms(value: bytes) -> int:
    """Milliseconds since the Unix epoch that the id carries."""
    return int.from_bytes(value[:6])


def first_id_at(time_us: int) -> bytes:
    """The lower bound, inclusive, of ids whose millisecond holds `time_us` or comes after it."""
    ms = min(max(time_us // _US_PER_MS, 0), _MAX_MS)
    return (ms << 80).to_bytes(16)


def last_id_at(time_us: int) -> bytes:
    """The upper bound, inclusive, of ids whose millisecond holds `time_us` or comes before it."""
    ms = min(max(time_us // _US_PER_MS, 0), _MAX_MS)
    return ((ms << 80) | ((1 << 80) - 1)).to_bytes(16)


def id_before(value: bytes) -> bytes:
    """The id directly before this one. For the lowest id, a value less than any id."""
    return (int.from_bytes(value) - 1).to_bytes(16) if any(value) else b""
