"""A port that is held for workers is shared by them and by nobody else."""

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from remit.service.workers.port import PortReservation, shown


@pytest.fixture(params=["127.0.0.1", "::1", "0.0.0.0", "localhost"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["free", "named"])
def held(request: pytest.FixtureRequest, host: str) -> Iterator[PortReservation]:
    """As the system gives it, and of a port that was just in use."""
    reservation = PortReservation(host, 0)
    if request.param == "named":
        port = reservation.port
        reservation.close()
        use(host, port)
        reservation = PortReservation(host, port)
        assert port == reservation.port
    yield reservation
    reservation.close()


def use(host: str, port: int) -> None:
    """Leaves a connection that the listener closed first, so the system reserves the port for a minute."""
    with listener(host, port) as listening, socket.create_connection((host, port)) as calling:
        listening.accept()[0].close()
        calling.recv(1)


def listener(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
    try:
        listening.bind((host, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def refused(host: str, port: int) -> bool:
    """Whether another server and another reservation are refused."""
    found = []
    for take in (listener, PortReservation):
        try:
            take(host, port).close()
        except OSError as error:
            found.append(error.errno)
    return found == [errno.EADDRINUSE] * 2


def test_no_other_process_can_bind_the_address_of_workers(host: str, held: PortReservation) -> None:
    assert refused(host, held.port)
    for _ in range(2):
        with listener(host, held.port, shared=True), listener(host, held.port, shared=True):
            assert refused(host, held.port)
        assert refused(host, held.port)


def test_connections_go_to_workers_only(host: str, held: PortReservation) -> None:
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, held.port))
    with listener(host, held.port, shared=True) as one, listener(host, held.port, shared=True) as other:
        for each in (one, other):
            each.setblocking(False)
        calling = [socket.create_connection((host, held.port)) for _ in range(64)]
        accepted = [len(list(accept_all(each))) for each in (one, other)]
        assert 64 == sum(accepted)
        assert all(accepted)
        for each in calling:
            each.close()


def accept_all(listening: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            connection, _ = listening.accept()
        except BlockingIOError:
            return
        with connection:
            yield connection


@pytest.mark.parametrize("shared", [False, True])
def test_taken_port_cannot_be_reserved(host: str, shared: bool) -> None:
    taken = pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE))
    with listener(host, 0, shared=shared) as listening, taken:
        PortReservation(host, listening.getsockname()[1])


@pytest.mark.parametrize("taken", ["127.0.0.1", "::1"])
def test_host_name_reserves_all_its_addresses(taken: str) -> None:
    """Also where the system's files leave one out: clients look it up in other ways."""
    held = PortReservation("localhost", 0)
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        listener(taken, held.port)
    held.close()
    with listener(taken, held.port), pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)) as refused:
        PortReservation("localhost", held.port)
    assert shown((taken, held.port)) == refused.value.filename


def test_unspecified_address_reserves_both_address_families() -> None:
    held = PortReservation("0.0.0.0", 0)
    with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
        listener("::1", held.port)
    held.close()


def test_closed_reservation_frees_the_port(host: str, held: PortReservation) -> None:
    held.close()
    listener(host, held.port).close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(OSError, match=os.strerror(errno.EADDRNOTAVAIL)):
        PortReservation("192.0.2.1", 0)
