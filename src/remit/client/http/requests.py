"""Writes requests of the Connect protocol."""

from collections.abc import Iterable
from typing import Any, Final

import httpcore

from remit.client.http.target import HttpTarget

CONNECT_TIMEOUT_S: Final = 10.0
"""For a call without a deadline."""
IDLE_S: Final = 30.0
"""A connection that waits longer is not used again. The server ends one after 75 seconds."""
FAULTS: Final = (
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    OSError,
    ValueError,
)
"""What a call over httpcore raises if there is no answer."""
_MOST_MS: Final = 9_999_999_999
_TIMEOUTS: Final = {"timeout": {"connect": CONNECT_TIMEOUT_S}}


def request(
    target: HttpTarget,
    path: str,
    message: bytes,
    timeout_s: float | None,
    metadata: Iterable[tuple[str, str]] | None,
    *,
    streams: bool,
) -> dict[str, Any]:
    """The arguments of httpcore."""
    headers = [
        ("Host", target.authority),
        ("Content-Type", "application/connect+proto" if streams else "application/proto"),
        ("Connect-Protocol-Version", "1"),
        ("Accept-Encoding", "identity"),
        ("User-Agent", "remit-client"),
        *(metadata or ()),
    ]
    if timeout_s is not None:
        headers.append(("Connect-Timeout-Ms", str(min(max(int(timeout_s * 1000), 1), _MOST_MS))))
    content = b"\0" + len(message).to_bytes(4) + message if streams else message
    headers.append(("Content-Length", str(len(content))))
    scheme, host = ("https" if target.is_encrypted else "http"), target.host
    url = httpcore.URL(scheme=scheme.encode(), host=host.encode(), port=target.port, target=path.encode())
    return {"method": "POST", "url": url, "headers": headers, "content": content, "extensions": _TIMEOUTS}


def proxy(target: HttpTarget) -> httpcore.Proxy | None:
    return httpcore.Proxy(target.proxy.url, auth=target.proxy.auth) if target.proxy is not None else None
