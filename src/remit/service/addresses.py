import ipaddress
import re
from typing import Final

_LAST_PORT: Final = 65_535
# An IPv6 address is in brackets: nobody can tell where the port of `::1:9090` begins.
_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^]\[/]+)\]|(?P<bare>[^]\[/:]+)):(?P<port>[0-9]+)").fullmatch


def split_address(name: str, text: str, *, least_port: int = 0) -> tuple[str, int]:
    """Host and port. Raises ValueError, which calls the text by that name, if it is not `HOST:PORT`."""
    found = _ADDRESS(text)
    if found is None or not least_port <= int(found["port"]) <= _LAST_PORT:
        raise ValueError(f"`{name}` is `{text}`: expected `HOST:PORT`, for example `127.0.0.1:9090` or `[::1]:9090`")
    return found["bare"] or found["bracketed"], int(found["port"])


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
