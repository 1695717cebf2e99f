"""The channel of a client, which is replaced when its PEM files change: grpcio reads them once."""

import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Any, Final

import grpc

from remit.client.connection_probe import ConnectionProbe, is_connection_failure
from remit.client.errors import DecisionUnavailable
from remit.client.stubs import following_over, rpcs_over, watching_over
from remit.client.target import DNS_SCHEME, channel_options
from remit.client.tls import MutualTls, ServerTls

_LOOK_EVERY_S: Final = 1.0
_LONGEST_TOKEN: Final = 8192 - len("Bearer ")
_TOKEN: Final = re.compile(rf"[!-~]{{1,{_LONGEST_TOKEN}}}").fullmatch

Channel = Any
"""A channel of grpc, or of grpc.aio."""
Metadata = tuple[tuple[str, str], ...] | None
Token = str | Callable[[], str]


class ChannelLink:
    """A channel, and what calls each method over it."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.rpcs = rpcs_over(channel)
        self.following = following_over(channel)
        self.watching = watching_over(channel)
        self.calls = 0
        """Calls and streams that use it now."""


class ChannelLinks:
    """The link of a client, and links that were replaced, until their last call ends. Safe to share between threads."""

    def __init__(
        self,
        target: str,
        channels: Any,
        close: Callable[[Channel], None],
        *,
        tls: MutualTls | None,
        server_ca: Path | str | None,
        token: Token | None,
    ) -> None:
        """`channels` is the module that makes channels, `grpc` or `grpc.aio`; `close` closes one that no call uses.

        Raises ValueError if the target is none or the credentials contradict each other, and OSError if a file cannot be
        read or if the files do not fit.
        """
        self._target = target
        self._options = channel_options(target)
        self._channels = channels
        if tls is not None and server_ca is not None:
            raise ValueError("`tls` names the server's authority already: leave `server_ca` out")
        if token is not None and tls is None and server_ca is None:
            raise ValueError("a token goes over TLS only: name `tls` or `server_ca`")
        self._tls = ServerTls(server_ca) if server_ca is not None else tls
        self._token = token
        self._probe = ConnectionProbe.of(target.removeprefix(DNS_SCHEME), self._tls)
        self._close = close
        self._mutex = Lock()
        self._closed = False
        self._replaced: list[ChannelLink] = []
        """Links that calls still use."""
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        self._stamps = _stamps(self._tls.files) if self._tls is not None else ()
        self._current = self._connected(self._tls.credentials() if self._tls is not None else None)

    def enter(self) -> ChannelLink:
        """The newest link. The call has to `leave` it."""
        if self._tls is not None and time.monotonic() >= self._look_at:
            self._look(self._tls)
        with self._mutex:
            link = self._current
            link.calls += 1
            return link

    def leave(self, link: ChannelLink) -> None:
        with self._mutex:
            link.calls -= 1
            left = link in self._replaced and not link.calls
            if left:
                self._replaced.remove(link)
        if left:
            self._close(link.channel)

    def metadata(self) -> Metadata:
        """What each call carries. Raises DecisionUnavailable if there is no token."""
        if self._token is None:
            return None
        try:
            token: Any = self._token if isinstance(self._token, str) else self._token()
        except Exception as error:
            raise DecisionUnavailable("UNAUTHENTICATED", f"there is no token: {error}") from error
        if not isinstance(token, str) or not _TOKEN(token):
            # grpcio would quote it.
            raise DecisionUnavailable(
                "UNAUTHENTICATED",
                f"the token is none: expected 1 to {_LONGEST_TOKEN} printable characters without blanks",
            )
        return (("authorization", f"Bearer {token}"),)

    def cause(self, error: grpc.RpcError) -> str:
        """Why there is no connection; '' if the error says it, or if that is unknown. Waits for the network."""
        return self._probe.cause(error) if self._probe is not None and is_connection_failure(error) else ""

    def shut(self) -> list[Channel]:
        """No link is replaced from now on. Returns the open channels, for the caller to close."""
        with self._mutex:
            self._closed = True
            links, self._replaced = [self._current, *self._replaced], []
            return [link.channel for link in links]

    def _connected(self, credentials: grpc.ChannelCredentials | None) -> ChannelLink:
        if credentials is None:
            return ChannelLink(self._channels.insecure_channel(self._target, self._options))
        return ChannelLink(self._channels.secure_channel(self._target, credentials, self._options))

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
                credentials = tls.credentials()
            except OSError:
                return
            if _stamps(tls.files) != stamps:
                return
            replaced, self._current, self._stamps = self._current, self._connected(credentials), stamps
            if replaced.calls:
                self._replaced.append(replaced)
                return
        self._close(replaced.channel)


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
