"""Addresses of servers: `HOST:PORT`."""

import ipaddress
import re
from typing import Final

_LAST_PORT: Final = 65_535
# An IPv6 address needs brackets: in `::1:9090` it is not clear which part is the port.
_ADDRESS: Final = re.compile(r"(?:\[(?P<bracketed>[^]\[/\s]+)\]|(?P<bare>[^]\[/:\s]+)):(?P<port>[0-9]{1,5})").fullmatch


def parse_address(text: str, *, least_port: int = 0) -> tuple[str, int] | None:
    """Host and port; None if the text is not `HOST:PORT`."""
    found = _ADDRESS(text)
    if found is None or not least_port <= int(found["port"]) <= _LAST_PORT:
        return None
    return found["bare"] or found["bracketed"], int(found["port"])


def split_address(name: str, text: str, *, least_port: int = 0) -> tuple[str, int]:
    """Host and port. Raises ValueError, which names the setting `name`, if the text is not `HOST:PORT`."""
    address = parse_address(text, least_port=least_port)
    if address is None:
        raise ValueError(f"`{name}` is `{text}`: expected `HOST:PORT`, for example `127.0.0.1:9090` or `[::1]:9090`")
    return address


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
