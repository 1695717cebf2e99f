import errno
import socket
from collections.abc import Iterable
from typing import Any, Final

_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_LOOPBACK: Final = ("127.0.0.1", "::1")
_ANY: Final = {"0.0.0.0", "::"}  # noqa: S104 (what somebody has set)
_TRIES: Final = 10

Address = tuple[Any, ...]
"""As Python's sockets have it: host, port, and of IPv6 two more."""


def addresses_of(host: str, port: int = 0) -> list[tuple[socket.AddressFamily, Address]]:
    """All that a server on `host` has to have, each once. Raises OSError where it is none of this machine's.

    `localhost` is the loopback of both families, whatever the system's files say: clients look it up in other ways.
    `0.0.0.0` and `::` alike are all addresses of both families.
    """
    hosts: Iterable[str] = _LOOPBACK if host == "localhost" else ("::", "0.0.0.0") if host in _ANY else (host,)  # noqa: S104
    found: dict[Address, socket.AddressFamily] = {}
    missing: OSError | None = None
    for each in hosts:
        for family, _, _, _, address in socket.getaddrinfo(each, None, type=socket.SOCK_STREAM):
            try:
                with socket.socket(family, socket.SOCK_STREAM) as trial:
                    trial.bind(address)
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
            else:
                found[address[0], port, *address[2:]] = family
        if found and host in _ANY:
            break  # the one of IPv6 is that of both
    if missing is not None and not found:
        raise missing
    return [(family, address) for address, family in found.items()]


def shown(address: Address) -> str:
    """`HOST:PORT`, an address of IPv6 in brackets."""
    host, port = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def taken(text: str, error: OSError) -> str:
    """Why one cannot listen on an address, `text` as it was set."""
    return f"`{text}`: {error.strerror}" + (f" (`{error.filename}`)" if error.filename not in {None, text} else "")


class PortReservation:
    """A port that this process holds without listening on it: for its workers to share by SO_REUSEPORT, or to see that it is
    free.

    When it is made nobody listens there, and as long as it is held nobody else can, but who asks for SO_REUSEPORT as
    the same user.
    """

    def __init__(self, host: str, port: int) -> None:
        """On all addresses of the host or on none; port 0 takes one that is free on all of them.

        Raises OSError where the port is taken, whose `filename` is the address that it is, or the host is not this machine.
        """
        self.port = port
        self._held: list[socket.socket] = []
        addresses = addresses_of(host, port)
        for tries_left in reversed(range(_TRIES if port == 0 and len(addresses) > 1 else 1)):
            try:
                self._hold(addresses)
            except OSError as error:
                self.close()
                if error.errno != errno.EADDRINUSE or not tries_left:
                    raise
            else:
                return

    def close(self) -> None:
        for each in self._held:
            each.close()
        self._held.clear()

    def _hold(self, addresses: Iterable[tuple[socket.AddressFamily, Address]]) -> None:
        for family, (host, port, *more) in addresses:
            held = socket.socket(family, socket.SOCK_STREAM)
            self._held.append(held)
            address = (host, port or (self._held[0].getsockname()[1] if len(self._held) > 1 else 0), *more)
            try:
                _hold(held, address)
            except OSError as error:
                raise OSError(error.errno, error.strerror, shown(address)) from None
        self.port = self._held[0].getsockname()[1]


def both_families(listening: socket.socket, address: Address) -> None:
    """Before it is bound: a socket on all addresses of IPv6 is on those of IPv4 too, whatever the system's default."""
    if address[0] == "::":
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def _hold(held: socket.socket, address: Address) -> None:
    both_families(held, address)
    if address[1] == 0:
        held.bind(address)
    else:
        # As a server does, so that connections that have just ended are no hindrance. Then the address is held as if by
        # a listener: nobody may bind it who does not share it, for without SO_REUSEADDR it is not for reuse.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        held.listen(0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.shutdown(socket.SHUT_RD)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
