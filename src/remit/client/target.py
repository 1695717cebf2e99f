"""The server that a client connects to."""

import ipaddress
import re
from typing import Final

from remit.client.retry import CHANNEL_OPTIONS

_LAST_PORT: Final = 65_535
_DNS: Final = "dns:///"
_OTHER_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Schemes of gRPC's own names. gRPC reads the rest of such a target."""
# An IPv6 address needs brackets: in `::1:9090` it is not clear which part is the port.
_ADDRESS: Final = re.compile(r"(?:\[(?P<bracketed>[^]\[/\s]+)\]|(?P<bare>[^]\[/:\s]+)):(?P<port>[0-9]{1,5})").fullmatch

ChannelOptions = tuple[tuple[str, int], ...]


def channel_options(target: str) -> ChannelOptions:
    """The options of a channel to `target`. Raises ValueError if it is neither `HOST:PORT` nor a name of gRPC's.

    gRPC would use port 443 if there is none, and look for a host `http`.
    """
    address = target.removeprefix(_DNS)
    found = _ADDRESS(address)
    if found is None or not 0 < int(found["port"]) <= _LAST_PORT:
        if address == target and target.startswith(_OTHER_SCHEMES):
            return CHANNEL_OPTIONS
        raise ValueError(f"the target is {target!r}: expected HOST:PORT, for example `127.0.0.1:9090` or `[::1]:9090`")
    # gRPC takes the proxy of `http_proxy` or `https_proxy` for loopback too. For that proxy, loopback is another machine.
    proxied = not _is_loopback(found["bare"] or found["bracketed"])
    return CHANNEL_OPTIONS if proxied else (*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
