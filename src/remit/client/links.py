"""The channel of a client. It is made by the first call in a process, and replaced when its PEM files change: they are
read once."""

import gc
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Condition
from typing import Any, Final
from weakref import WeakSet

import grpc
from google.protobuf.message import Message

from remit.client.connection_probe import ConnectionProbe, is_connection_failure
from remit.client.errors import DecisionUnavailable
from remit.client.forks import FORKS, Forkable
from remit.client.http.target import HttpTarget
from remit.client.stubs import rpcs_over, streams_over, uploads_over
from remit.client.target import DNS_SCHEME, channel_options
from remit.client.tls import MutualTls, ServerTls

_LOOK_EVERY_S: Final = 1.0
_LONGEST_TOKEN: Final = 8192 - len("Bearer ")
_TOKEN: Final = re.compile(rf"[!-~]{{1,{_LONGEST_TOKEN}}}").fullmatch

Channel = Any
"""A channel of grpc or of grpc.aio, or one over HTTP in place of either."""
Metadata = tuple[tuple[str, str], ...] | None
Token = str | Callable[[], str]


_OF_PARENTS: Final[list[Any]] = []
"""Links of the process that this one was forked from. They are never closed here: to close one of grpc.aio may hang."""


class ChannelLink:
    """A channel, and what calls each method over it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.rpcs = rpcs_over(channel)
        self.streams = streams_over(channel)
        self.uploads = uploads_over(channel)
        self.calls = 0
        """Calls and streams that use it now."""


class ChannelLinks(Forkable):
    """The link of a client, and links that were replaced, until their last call ends. Safe to share between threads.

    A process has its own link: no channel exists before the first call, and a child forgets its parent's link.
    """

    def __init__(
        self,
        target: str,
        channels: Any,
        *,
        tls: MutualTls | None,
        server_ca: Path | str | None,
        token: Token | None,
        act_for: Token | None = None,
    ) -> None:
        """`channels` is the module that makes channels, `grpc` or `grpc.aio`.

        Raises ValueError if the target is none or the credentials contradict each other, OSError if a file cannot be
        read or if the files do not fit, and ImportError if the target needs a package that is not installed.
        """
        self._target = target
        self._http = HttpTarget.of(target)
        self._options = channel_options(target) if self._http is None else ()
        self._channels = channels
        if tls is not None and server_ca is not None:
            raise ValueError("`tls` names the server's authority already: leave `server_ca` out")
        if token is not None and tls is None and server_ca is None:
            raise ValueError("a token goes over TLS only: name `tls` or `server_ca`")
        if act_for is not None and tls is None and token is None:
            raise ValueError("who acts for others shows a credential: name `tls` or `token`")
        self._tls = ServerTls(server_ca) if server_ca is not None else tls
        if self._http is not None:
            self._http.check(has_tls=self._tls is not None)
            self._over_http = _channel_over_http(target, asynchronous=channels is grpc.aio)
        self._token = token
        self._act_for = act_for
        self._probe = ConnectionProbe.of(target.removeprefix(DNS_SCHEME), self._tls) if self._http is None else None
        self.close: Callable[[Channel], None] = lambda channel: channel.close()
        """Closes a channel that no call uses."""
        self._closed = False
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        self._stamps = _stamps(self._tls.files) if self._tls is not None else ()
        self._credentials = self._read(self._tls) if self._tls is not None else None
        self._all: WeakSet[ChannelLink] = WeakSet()
        self._forget()
        FORKS.add(self)

    def _forget(self) -> None:
        """The state of a process that has not called yet."""
        self._mutex = Condition()
        self._forking = False
        self._current: ChannelLink | None = None
        self._replaced: list[ChannelLink] = []
        """Links that calls still use."""
        self._all.clear()
        self._calls = 0
        """Calls that have entered a link. A stream counts until it is open."""
        self._streams: set[Any] = set()
        """Open streams."""

    def enter(self) -> ChannelLink:
        """The newest link. The call has to `leave` it. Raises DecisionUnavailable after the end of the client."""
        if self._tls is not None and time.monotonic() >= self._look_at:
            self._look(self._tls)
        with self._mutex:
            while self._forking:
                self._mutex.wait()
            if self._closed:
                raise DecisionUnavailable("CANCELLED", "the client is closed")
            if self._current is None:
                if self._http is None:
                    FORKS.begin_grpc()
                self._current = self._connected()
            self._current.calls += 1
            self._calls += 1
            return self._current

    def open(self, link: ChannelLink, request: Message, **options: Any) -> Any:
        """Starts a stream of a link that was entered. A fork of the process ends it."""
        method = link.streams[request.DESCRIPTOR.full_name]
        with self._mutex:
            stream = method(request, **options)
            self._calls -= 1
            if self._channels is grpc.aio:
                return stream
            self._streams.add(stream)
        if not stream.add_callback(lambda: self._ended(stream)):
            # It has ended before the callback was there.
            self._ended(stream)
        return stream

    def leave(self, link: ChannelLink, stream: Any = None) -> None:
        """`stream` is the stream that was opened, None if there was none."""
        with self._mutex:
            if stream is None:
                self._calls -= 1
                if self._forking:
                    self._mutex.notify_all()
            link.calls -= 1
            left = link in self._replaced and not link.calls
            if left:
                self._replaced.remove(link)
        if left:
            self.close(link.channel)

    def metadata(self) -> Metadata:
        """What each call carries. Raises DecisionUnavailable if there is no token, or nobody to act for."""
        if self._token is None and self._act_for is None:
            return None
        found: list[tuple[str, str]] = []
        if self._token is not None:
            found.append(("authorization", f"Bearer {_text_of(self._token, 'token')}"))
        if self._act_for is not None:
            found.append(("remit-act-for", _text_of(self._act_for, "person")))
        return tuple(found)

    def cause(self, error: grpc.RpcError) -> str:
        """Why there is no connection; '' if the error says it, or if that is unknown. Waits for the network."""
        return self._probe.cause(error) if self._probe is not None and is_connection_failure(error) else ""

    def shut(self) -> list[Channel]:
        """No call enters from now on. Returns the open channels, for the caller to close."""
        with self._mutex:
            self._closed = True
            links = [*self._replaced, *([self._current] if self._current is not None else [])]
            self._replaced, self._current = [], None
            return [link.channel for link in links]

    def before_fork(self, deadline: float) -> bool:
        """Ends the streams, which start anew after the fork, and waits for calls of other threads."""
        self._mutex.acquire()
        if self._http is not None:
            # Else the child and its parent would read from one connection.
            for stream in [*self._streams]:
                stream.cancel()
            return True
        if self._channels is grpc.aio:
            if self._all and self._closed:
                gc.collect()
            return not self._all
        self._forking = True
        for stream in self._streams:
            stream.cancel()
        return self._mutex.wait_for(lambda: not self._calls and not self._streams, deadline - time.monotonic())

    def after_fork_in_parent(self) -> None:
        self._forking = False
        self._mutex.notify_all()
        self._mutex.release()

    def after_fork_in_child(self) -> None:
        _OF_PARENTS.append((self._current, self._replaced))
        self._forget()

    def _connected(self) -> ChannelLink:
        if self._http is not None:
            link = ChannelLink(self._over_http(self._http, self._credentials))
        elif self._credentials is None:
            link = ChannelLink(self._channels.insecure_channel(self._target, self._options))
        else:
            link = ChannelLink(self._channels.secure_channel(self._target, self._credentials, self._options))
        self._all.add(link)
        return link

    def _read(self, tls: MutualTls | ServerTls) -> Any:
        """The credentials of a channel. Raises OSError if a file cannot be read, or if the files do not fit."""
        return tls.credentials(tls.read()) if self._http is None else tls.context()

    def _ended(self, stream: Any) -> None:
        with self._mutex:
            self._streams.discard(stream)
            self._mutex.notify_all()

    def _look(self, tls: MutualTls | ServerTls) -> None:
        """Replaces the link if a file changed. Files that do not fit leave the link, and are looked at again."""
        with self._mutex:
            if self._closed or time.monotonic() < self._look_at:
                return
            self._look_at = time.monotonic() + _LOOK_EVERY_S
            stamps = _stamps(tls.files)
            if stamps == self._stamps:
                return
            try:
                credentials = self._read(tls)
            except OSError:
                return
            if _stamps(tls.files) != stamps:
                return
            replaced, self._current, self._stamps = self._current, None, stamps
            self._credentials = credentials
            if replaced is None:
                return
            if replaced.calls:
                self._replaced.append(replaced)
                return
        self.close(replaced.channel)


def _channel_over_http(target: str, *, asynchronous: bool) -> Callable[..., Channel]:
    """The class of a channel. A client of gRPC does not load the libraries of HTTP."""
    if sys.version_info < (3, 11):
        # `asyncio.timeout` is newer than 3.10.
        raise ImportError(f"the target {target!r} needs Python 3.11 or newer: gRPC's HOST:PORT does not")
    try:
        if asynchronous:
            from remit.client.http.async_channel import AsyncHttpChannel  # noqa: PLC0415

            return AsyncHttpChannel
        from remit.client.http.channel import HttpChannel  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(
            f"the target {target!r} needs `{error.name}`: install remit with the extra `http-client` "
            "(docs/how-to/install.md)",
            name=error.name,
        ) from error
    return HttpChannel


def _stamps(files: Iterable[Path | str]) -> tuple[tuple[int, ...], ...]:
    found: list[tuple[int, ...]] = []
    for file in files:
        try:
            stamp = os.stat(file)  # noqa: PTH116 (the file may be a text)
        except OSError:
            found.append(())
        else:
            found.append((stamp.st_dev, stamp.st_ino, stamp.st_size, stamp.st_mtime_ns, stamp.st_ctime_ns))
    return tuple(found)


def _text_of(given: Token, what: str) -> str:
    """Raises DecisionUnavailable if there is none."""
    try:
        text: Any = given if isinstance(given, str) else given()
    except Exception as error:
        raise DecisionUnavailable("UNAUTHENTICATED", f"there is no {what}: {error}") from error
    if not isinstance(text, str) or not _TOKEN(text):
        # grpcio would quote it.
        raise DecisionUnavailable(
            "UNAUTHENTICATED",
            f"the {what} is none: expected 1 to {_LONGEST_TOKEN} printable characters without blanks",
        )
    return text
