import errno
import socket
from typing import Any, Final

_NOT_HERE: Final = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class Reservation:
    """A port that this process holds without listening on it: for its workers to share by SO_REUSEPORT, or to see that it is
    free.

    When it is made nobody listens there, and as long as it is held nobody else can, but who asks for SO_REUSEPORT as
    the same user.
    """

    def __init__(self, host: str, port: int) -> None:
        """Port 0 takes a free one. Raises OSError where the port is taken, or the address is not this machine's."""
        self.port = port
        self._held: list[socket.socket] = []
        missing: OSError | None = None
        try:
            for family, kind, protocol, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                held = socket.socket(family, kind, protocol)
                self._held.append(held)
                try:
                    _hold(held, (address[0], self.port, *address[2:]))
                except OSError as error:
                    if error.errno not in _NOT_HERE:
                        raise
                    self._held.remove(held)
                    held.close()
                    missing = error
                else:
                    self.port = held.getsockname()[1]
            if missing is not None and not self._held:
                raise missing
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        for each in self._held:
            each.close()


def _hold(held: socket.socket, address: tuple[Any, ...]) -> None:
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
