"""Sends requests over HTTP, with and without the caller's credential."""

import base64
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout, parse_url

from .modules import Credentials

_MOST_BYTES: Final = 8 * 1024 * 1024
_SHOWN: Final = 200
_WRONG: Final = "remit-conform-wrong-credential"


class NoAnswerError(Exception):
    """The server cannot be reached, or did not answer whole and in time."""


class WrongUrlError(ValueError):
    """The URL is none of an AuthZEN server."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        """The start of the body, for a message."""
        shown = self.body[:_SHOWN].decode("utf-8", "backslashreplace")
        return shown if len(self.body) <= _SHOWN else f"{shown}…"


@dataclass(frozen=True, slots=True)
class CallerCredential:
    """How the runner authenticates: with nothing, with a token or a password, or with a certificate."""

    token: str = ""
    """A bearer token or an API key: both go out as `Authorization: Bearer`."""
    basic: str = ""
    """`USER:PASSWORD`."""
    cert: Path | None = None
    key: Path | None = None

    @property
    def authorization(self) -> str:
        if self.token:
            return f"Bearer {self.token}"
        return f"Basic {_base64(self.basic)}" if self.basic else ""

    @property
    def wrong(self) -> str:
        """An authorization of the same kind that no server accepts."""
        user, _, _ = self.basic.partition(":")
        return f"Basic {_base64(f'{user}:{_WRONG}')}" if self.basic else f"Bearer {_WRONG}"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@dataclass(slots=True)
class HttpCaller:
    """Connections to one server."""

    credential: CallerCredential
    server_ca: Path | None
    timeout_s: float
    _pools: dict[bool, urllib3.PoolManager] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.clear()

    def call(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        credentials: Credentials = Credentials.GIVEN,
    ) -> HttpAnswer:
        """Follows no redirect and tries once. Raises NoAnswerError."""
        sent = {"Accept": "application/json", "User-Agent": "remit-conform", **headers}
        authorization = {
            Credentials.GIVEN: self.credential.authorization,
            Credentials.WRONG: self.credential.wrong,
            Credentials.NONE: "",
        }[credentials]
        if authorization:
            sent["Authorization"] = authorization
        try:
            response = self._pool(credentials is Credentials.GIVEN).request(
                method, url, headers=sent, body=body, redirect=False, retries=False, preload_content=False
            )
            try:
                content = response.read(_MOST_BYTES + 1, decode_content=False)
            finally:
                response.release_conn()
        except (HTTPError, OSError) as error:
            raise NoAnswerError(_cause(error)) from None
        if len(content) > _MOST_BYTES:
            raise NoAnswerError(f"the answer is larger than {_MOST_BYTES} bytes")
        return HttpAnswer(
            response.status, {name.lower(): value for name, value in response.headers.items()}, bytes(content)
        )

    def _pool(self, with_certificate: bool) -> urllib3.PoolManager:
        """Raises OSError if a file of a certificate cannot be read."""
        if with_certificate not in self._pools:
            context = ssl.create_default_context(cafile=None if self.server_ca is None else str(self.server_ca))
            if with_certificate and self.credential.cert is not None:
                # Without a password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.credential.cert, self.credential.key, password="")
            timeout = Timeout(self.timeout_s)
            self._pools[with_certificate] = urllib3.PoolManager(ssl_context=context, timeout=timeout)
        return self._pools[with_certificate]


def check_url(url: str) -> None:
    """Raises WrongUrlError if this cannot be the URL of a policy decision point."""
    try:
        parsed = parse_url(url)
    except LocationParseError as error:
        raise WrongUrlError(f"`{url}` is no URL: {error}") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise WrongUrlError(f"`{url}`: expected a URL that begins with https:// or http://")
    if parsed.query is not None or parsed.fragment is not None:
        raise WrongUrlError(f"`{url}`: expected a URL without `?` and `#`")
    if parsed.auth is not None:
        raise WrongUrlError("the URL holds credentials: use an option")


def well_known(identifier: str) -> str:
    """The URL of the metadata: the well-known path stands between host and path (section 9.2 of the specification)."""
    parsed = parse_url(identifier)
    origin = f"{parsed.scheme}://{parsed.netloc}"
    path = "" if parsed.path in {None, "/"} else parsed.path
    return f"{origin}/.well-known/authzen-configuration{path}"


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return f"{type(error).__name__}: {reason or error}"
