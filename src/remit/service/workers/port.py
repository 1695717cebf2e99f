import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
_LOOPBACK: Final = ("127.0.0.1", "::1")
_ANY: Final = {"0.0.0.0", "::"}  # noqa: S104 (what somebody has set)
_TRIES: Final = 10

Address = tuple[Any, ...]
"""As in Python's sockets: host, port, and two more for IPv6."""


def addresses_of(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    """All addresses that a server on `host` needs, each once. Raises OSError if this machine has none of them.

    `localhost` means the loopback of both families, whatever the system's files say, because clients resolve it in
    different ways. `0.0.0.0` and `::` both mean all addresses of both families.
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


def addresses_to_bind(host: str, port: int) -> list[tuple[socket.AddressFamily, Address]]:
    """As `addresses_of`. If there are several, port 0 becomes one port that is free on all of them."""
    addresses = addresses_of(host, port)
    if port or len(addresses) == 1:
        return addresses
    free = PortReservation(host, 0)
    free.close()
    return addresses_of(host, free.port)


@contextmanager
def naming(address: Address) -> Iterator[None]:
    """Makes the address the `filename` of an OSError."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, shown(address)) from None


def shown(address: Address) -> str:
    """`HOST:PORT`; an IPv6 address is in brackets."""
    host, port = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def taken(text: str, error: OSError) -> str:
    """Why the address `text` from the settings cannot be used."""
    return f"`{text}`: {error.strerror}" + (f" (`{error.filename}`)" if error.filename not in {None, text} else "")


def cannot_listen(text: str, error: OSError) -> str:
    """Why the service cannot listen at `text`. Its default is also the default of other programs."""
    return f"cannot listen on {taken(text, error)}: set `listen` to another address (--listen HOST:PORT)"


def cannot_serve_metrics(text: str, error: OSError) -> str:
    return f"cannot serve metrics on {taken(text, error)}: set `metrics` to another address, or to nothing for none"


def http_taken(text: str, error: OSError) -> str:
    """Why the API over HTTP cannot be served at `text`. It has a default, which many do not know of."""
    return f"cannot serve HTTP on {taken(text, error)}: set `http` to another address, or to nothing for no HTTP"


class PortReservation:
    """Holds a port without listening on it, so that workers can share it by SO_REUSEPORT, or to test that it is free.

    When it is created, nobody listens on the port. While it is held, only a process of the same user that sets
    SO_REUSEPORT can.
    """

    def __init__(self, host: str, port: int) -> None:
        """Takes the port on all addresses of the host or on none; port 0 takes one that is free on all of them.

        Raises OSError if the host is not this machine, or if the port is taken; then `filename` is the address.
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
            with naming(address):
                _hold(held, address)
        self.port = self._held[0].getsockname()[1]


def both_families(listening: socket.socket, address: Address) -> None:
    """Call it before the bind: then a socket on all IPv6 addresses also takes IPv4, whatever the system's default."""
    if address[0] == "::":
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


def _hold(held: socket.socket, address: Address) -> None:
    both_families(held, address)
    if address[1] == 0:
        held.bind(address)
    else:
        # SO_REUSEADDR, as a server sets it, allows a port whose connections have just ended. After the listen it is
        # cleared, so that nobody can bind the address without SO_REUSEPORT.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        held.listen(0)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        held.shutdown(socket.SHUT_RD)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
