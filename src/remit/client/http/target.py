"""The server that a client asks over HTTP, and the way to it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from remit.core.addresses import is_loopback, parse_address

_SCHEMES: Final = ("http://", "https://")
_HOST: Final = re.compile(r"[A-Za-z0-9._:%-]+").fullmatch
_PROXY_SCHEMES: Final = {"http", "https"}


@dataclass(frozen=True, slots=True)
class HttpProxy:
    url: str
    auth: tuple[str, str] | None = field(repr=False)
    """User and password."""

    @classmethod
    def of(cls, url: str) -> "HttpProxy":
        """Raises ValueError if the URL is not one that httpcore takes."""
        parts = urlsplit(url)
        auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username is not None else None
        is_ascii = all(text.isascii() for text in auth or ())
        if parts.scheme not in _PROXY_SCHEMES or not _HOST(parts.hostname or "") or parts.port == 0 or not is_ascii:
            raise ValueError("no proxy")
        return cls(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", auth)


@dataclass(frozen=True, slots=True)
class HttpTarget:
    url: str
    """`http://HOST:PORT` or `https://HOST:PORT`."""
    host: str
    port: int
    is_encrypted: bool
    proxy: HttpProxy | None

    @classmethod
    def of(cls, target: str) -> "HttpTarget | None":
        """None if the target is no URL. Raises ValueError if it is another URL than those, or if the proxy is none."""
        if not target.startswith(_SCHEMES):
            return None
        scheme, _, authority = target.partition("://")
        address = parse_address(authority, least_port=1)
        if address is None or not _HOST(address[0]):
            raise ValueError(
                f"the target is {target!r}: expected {scheme}://HOST:PORT, for example `{scheme}://127.0.0.1:9080`"
            )
        host, port = address
        return cls(target, host, port, scheme == "https", _proxy(scheme, host, port))

    @property
    def authority(self) -> str:
        return self.url.partition("://")[2]

    def check(self, *, has_tls: bool) -> None:
        """Raises ValueError if the scheme and the credentials contradict each other."""
        if has_tls and not self.is_encrypted:
            raise ValueError(f"the target is {self.url!r}: `tls`, `server_ca` and `token` need https://HOST:PORT")
        if self.is_encrypted and not has_tls:
            raise ValueError(
                f"the target is {self.url!r}: name the authority that signed the server's certificate (`server_ca` or "
                "`tls`; `--tls-server-ca`)"
            )


def _proxy(scheme: str, host: str, port: int) -> HttpProxy | None:
    """The proxy of `http_proxy` or `https_proxy`. For a proxy, loopback is another machine."""
    # It imports the parsers of HTTP and of mail, a third of what `remit.client` takes to import.
    from urllib.request import (  # type: ignore[attr-defined]  # noqa: PLC0415
        getproxies_environment,
        proxy_bypass_environment,
    )

    found: Mapping[str, str] = getproxies_environment()
    variable = scheme if found.get(scheme) else "all"
    url = found.get(variable)
    if not url or is_loopback(host.lower()) or proxy_bypass_environment(f"{host}:{port}"):
        return None
    try:
        return HttpProxy.of(url)
    except ValueError:
        raise ValueError(
            f"the proxy of the variable `{variable}_proxy` is none: expected http://HOST:PORT, in ASCII"
        ) from None
