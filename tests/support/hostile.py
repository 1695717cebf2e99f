"""An attack on a real server: mutated calls over raw HTTP/2, beside an honest caller."""

import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Event, Lock, Thread
from typing import Final, NamedTuple

import grpc
from support.hostile_calls import HostileCall, hostile_call
from support.questions import check
from support.server import Server, access_of

from remit.v1 import decision_pb2

DEADLINE_S: Final = 10
"""The deadline of a call. One that is not answered some seconds past it hangs."""
_HANGS_S: Final = DEADLINE_S + 20.0
CALLS: Final = 32
"""In flight on one connection."""
CONNECTIONS: Final = 4
_UNKNOWN, _INTERNAL = 2, 13
_WINDOW: Final = 2**31 - 1
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE = 1, 4
_CANCEL: Final = 8
WARM_UP: Final = 4
"""Memory counts after one in this many of the messages."""
GROWTH_KIB: Final = 64 * 1024
FLAGS: Final = ("--revision-wait-s", "0.01")
"""For the server: a revision that nobody has is not worth a wait."""
RESET, CLOSED, HANGS = "reset", "connection closed", "hangs"


class HostileConnection:
    """A connection that sends calls together, and reads how each of them ends."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.settimeout(1.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without a table of headers each answer can be read by itself.
        settings = struct.pack(">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _WINDOW)
        self._socket.sendall(
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW - 65_535))
        )
        self._next = 1
        self._received = bytearray()
        self._unsent = bytearray()
        self._read_bytes = 0
        self._may_send = 65_535

    def ask(self, calls: list[HostileCall]) -> list[str | int]:
        """How each call ended: a status of gRPC, `RESET`, `CLOSED` or `HANGS`."""
        ends: dict[int, str | int] = {}
        asked = {}
        deadline = time.monotonic() + _HANGS_S
        try:
            for call in calls:
                while self._may_send < len(call.body) and time.monotonic() < deadline:
                    self._read(ends)
                asked[self._begin(call)] = call
            while any(not call.lasts and stream not in ends for stream, call in asked.items()):
                self._read(ends)
                if time.monotonic() > deadline:
                    break
            for stream, call in asked.items():
                if call.lasts and stream not in ends:
                    self._unsent += _frame(_RESET, 0, stream, struct.pack(">I", _CANCEL))
                    ends[stream] = RESET
            if self._read_bytes:
                self._unsent += _frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._read_bytes))
                self._read_bytes = 0
            self._flush()
        except OSError:
            ends = {stream: ends.get(stream, CLOSED) for stream in asked}
            ends |= {-number: CLOSED for number in range(len(calls) - len(asked))}
            return [*ends.values()]
        return [ends.get(stream, HANGS) for stream in asked]

    @property
    def is_worn(self) -> bool:
        """New connections are part of the attack, and a stream's number has 31 bits."""
        return self._next > 100_000

    def close(self) -> None:
        self._socket.close()

    def _begin(self, call: HostileCall) -> int:
        stream, self._next = self._next, self._next + 2
        headers = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": call.path.encode(),
            b":authority": b"localhost",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
            b"grpc-timeout": b"%dS" % DEADLINE_S,
            **call.headers,
        }
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
        self._may_send -= len(call.body)
        self._unsent += _frame(_HEADERS, _END_HEADERS, stream, block) + _frame(_DATA, _END_STREAM, stream, call.body)
        return stream

    def _flush(self) -> None:
        if self._unsent:
            self._socket.sendall(self._unsent)
            self._unsent.clear()

    def _read(self, ends: dict[int, str | int]) -> None:
        """Sends what waits, and reads what has come. Raises OSError where the connection is closed."""
        self._flush()
        with suppress(TimeoutError):
            received = self._socket.recv(65_536)
            if not received:
                raise ConnectionResetError
            self._received += received
        for kind, flags, stream, payload in self._frames():
            if kind == _HEADERS and flags & _END_STREAM:
                ends[stream] = _status(payload)
            elif kind == _RESET:
                ends.setdefault(stream, RESET)
            elif kind == _DATA:
                self._read_bytes += len(payload)
            elif kind == _WINDOW_UPDATE and stream == 0:
                self._may_send += int.from_bytes(payload)
            elif kind == _SETTINGS and not flags & _ACK:
                self._unsent += _frame(_SETTINGS, _ACK, 0, b"")
            elif kind == _PING and not flags & _ACK:
                self._unsent += _frame(_PING, _ACK, 0, payload)
            elif kind == _GOAWAY:
                raise ConnectionResetError
            assert kind != _CONTINUATION, "answers have short headers"

    def _frames(self) -> Iterator[tuple[int, int, int, bytes]]:
        while len(self._received) >= 9:
            length = int.from_bytes(self._received[:3])
            if len(self._received) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self._received[3:9])
            payload = bytes(self._received[9 : 9 + length])
            del self._received[: 9 + length]
            yield kind, flags, stream, payload


class Attack:
    """Sends mutated calls on several connections, and looks at the server meanwhile."""

    def __init__(self, server: Server, messages: int, seed: int) -> None:
        self._server = server
        self._messages = messages
        self._seed = seed
        self._lock = Lock()
        self._ended = Event()
        self.ends: Counter[str] = Counter()
        self.broken: list[str] = []
        """What must not happen, each with what is needed to see it again."""
        self.sent = 0
        self.honest = 0
        """Honest calls that were answered."""
        self.warm_kib = 0
        self.resident_kib = 0

    def run(self, progress: Callable[[], None] = lambda: None) -> None:
        """Ends at the last message, or soon after something has broken."""
        senders = [Thread(target=self._send, args=(number,), daemon=True) for number in range(CONNECTIONS)]
        honest = Thread(target=self._ask_honestly, daemon=True)
        for each in (*senders, honest):
            each.start()
        while any(each.is_alive() for each in senders):
            self._ended.wait(0.2)
            self._look()
            progress()
        self._ended.set()
        honest.join()
        self._look()
        if not self.honest:
            self.broken.append("no honest call was answered")
        self.broken += [f"the server's log: {line}" for line in tracebacks(self._server)]

    def _look(self) -> None:
        """At the server's memory, as soon as it is warm."""
        try:
            self.resident_kib = resident_kib(self._server.pid)
        except OSError:
            self.broken.append("the server has died")
            return
        if self.sent >= self._messages // WARM_UP:
            self.warm_kib = self.warm_kib or self.resident_kib
            if self.resident_kib - self.warm_kib > GROWTH_KIB:
                self.broken.append(f"the server grew from {self.warm_kib:,} to {self.resident_kib:,} KiB")

    def _send(self, number: int) -> None:
        connection: HostileConnection | None = None
        batch = 0
        while not self.broken:
            with self._lock:
                count = min(CALLS, self._messages - self.sent)
                self.sent += count
            if count <= 0:
                break
            # A batch a seed, so that one that breaks something can be sent again alone.
            seed = f"{self._seed}/{number}/{batch}"
            batch += 1
            rng = Random(seed)
            calls = [hostile_call(rng) for _ in range(count)]
            try:
                connection = connection or HostileConnection(self._server.port)
            except OSError as error:
                self.broken.append(f"no connection to the server: {error}")
                break
            ends = connection.ask(calls)
            self._judge(seed, calls, ends)
            if CLOSED in ends or connection.is_worn:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _judge(self, seed: str, calls: list[HostileCall], ends: list[str | int]) -> None:
        with self._lock:
            self.ends.update(end if isinstance(end, str) else grpc_name(end) for end in ends)
        # A connection that the library closes ends the others on it too.
        if CLOSED in ends and all(call.framed for call in calls):
            self.broken.append(f"batch {seed}: the server closed the connection of well-formed calls")
        for call, end in zip(calls, ends, strict=True):
            if end == HANGS or (call.framed and end in {_UNKNOWN, _INTERNAL}):
                self.broken.append(f"batch {seed}: {end if end == HANGS else grpc_name(int(end))}: {call}")

    def _ask_honestly(self) -> None:
        with self._server.channel() as channel:
            while not self._ended.is_set():
                try:
                    answer = access_of(channel).Check(check(), timeout=_HANGS_S)
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                        self.broken.append(f"an honest call ended with {error.code()}: {error.details()}")
                    continue
                self.honest += 1
                if answer.decision.effect != decision_pb2.EFFECT_ALLOW:
                    self.broken.append(f"an honest call got another answer: {answer}")
                self._ended.wait(0.01)


class _Reader(NamedTuple):
    """The fields of one header block (RFC 7541) that was written without a table."""

    block: bytes

    def literals(self) -> Iterator[tuple[bytes, bytes]]:
        """Names and values, of those whose name is written out."""
        place = 0
        while place < len(self.block):
            first = self.block[place]
            if first & 0x80:
                _, place = self._number(place, 7)
            elif first & 0xE0 == 0x20:
                _, place = self._number(place, 5)
            else:
                index, place = self._number(place, 6 if first & 0x40 else 4)
                name = b""
                if not index:
                    name, place = self._text(place)
                value, place = self._text(place)
                yield name, value

    def _number(self, place: int, bits: int) -> tuple[int, int]:
        most = (1 << bits) - 1
        number = self.block[place] & most
        place += 1
        if number < most:
            return number, place
        shift = 0
        while True:
            byte = self.block[place]
            number += (byte & 0x7F) << shift
            place, shift = place + 1, shift + 7
            if not byte & 0x80:
                return number, place

    def _text(self, place: int) -> tuple[bytes, int]:
        length, begin = self._number(place, 7)
        return self.block[begin : begin + length], begin + length


def _status(block: bytes) -> str | int:
    found = dict(_Reader(block).literals()).get(b"grpc-status")
    return "no status" if found is None else int(found)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def _text(text: bytes) -> bytes:
    assert len(text) < 127
    return bytes([len(text)]) + text


def grpc_name(status: int) -> str:
    return next((each.name for each in grpc.StatusCode if each.value[0] == status), str(status))


def resident_kib(pid: int) -> int:
    """Raises OSError where the process has ended."""
    status = Path(f"/proc/{pid}/status").read_text()
    if "VmRSS:" not in status:
        raise ProcessLookupError
    return int(status.partition("VmRSS:")[2].split()[0])


def tracebacks(server: Server) -> list[str]:
    """Errors in the log, and lines that are no log."""
    return [
        str(line) for line in server.logs if line.get("level") in {"error", "critical", None} or "exception" in line
    ]
