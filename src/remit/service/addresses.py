import ipaddress
import re
from typing import Final

_LAST_PORT: Final = 65_535
# An IPv6 address needs brackets: in `::1:9090` it is not clear which part is the port.
_ADDRESS = re.compile(r"(?:\[(?P<bracketed>[^]\[/]+)\]|(?P<bare>[^]\[/:]+)):(?P<port>[0-9]+)").fullmatch


def split_address(name: str, text: str, *, least_port: int = 0) -> tuple[str, int]:
    """Returns host and port. Raises ValueError, which names the setting `name`, if the text is not `HOST:PORT`."""
    found = _ADDRESS(text)
    if found is None or not least_port <= int(found["port"]) <= _LAST_PORT:
        raise ValueError(f"`{name}` is `{text}`: expected `HOST:PORT`, for example `127.0.0.1:9090` or `[::1]:9090`")
    return found["bare"] or found["bracketed"], int(found["port"])


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
