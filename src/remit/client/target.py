"""The server that a client connects to."""

from typing import Final

from remit.client.retry import CHANNEL_OPTIONS
from remit.core.addresses import is_loopback, parse_address

DNS_SCHEME: Final = "dns:///"
_OTHER_SCHEMES: Final = ("dns:", "ipv4:", "ipv6:", "unix:", "unix-abstract:", "vsock:", "xds:")
"""Schemes of gRPC's own names. gRPC reads the rest of such a target."""

ChannelOptions = tuple[tuple[str, int], ...]


def channel_options(target: str) -> ChannelOptions:
    """The options of a channel to `target`. Raises ValueError if it is neither `HOST:PORT` nor a name of gRPC's.

    gRPC would use port 443 if there is none, and look for a host `http`.
    """
    text = target.removeprefix(DNS_SCHEME)
    address = parse_address(text, least_port=1)
    if address is None:
        if text == target and target.startswith(_OTHER_SCHEMES):
            return CHANNEL_OPTIONS
        raise ValueError(f"the target is {target!r}: expected HOST:PORT, for example `127.0.0.1:9090` or `[::1]:9090`")
    host, _ = address
    # gRPC takes the proxy of `http_proxy` or `https_proxy` for loopback too. For that proxy, loopback is another machine.
    return (*CHANNEL_OPTIONS, ("grpc.enable_http_proxy", 0)) if is_loopback(host.lower()) else CHANNEL_OPTIONS
