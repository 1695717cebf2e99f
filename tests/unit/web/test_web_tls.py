"""Handshakes by certificates that change."""

import shutil
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from socket import create_connection, create_server, socket
from threading import Thread

import pytest
import trustme
from support.certificates import Authority

from remit.service.certificates import ServerCertificates
from remit.web.server import reloading_context

DEADLINE_S = 30
SHOWN, NOT_SHOWN = b"y", b"n"


def authority(folder: Path) -> Authority:
    folder.mkdir()
    return Authority(folder, trustme.CA())


@pytest.fixture
def first(tmp_path: Path) -> Authority:
    return authority(tmp_path / "first")


@pytest.fixture
def client_ca(tmp_path: Path, first: Authority) -> Path:
    return Path(shutil.copy(first.certificate, tmp_path / "ca.pem"))


@pytest.fixture
def listening(first: Authority, client_ca: Path) -> Iterator[socket]:
    """Tells each client whether it showed a certificate."""
    context = reloading_context(ServerCertificates(*first.signed("server", "127.0.0.1"), client_ca))
    with create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    plain, _ = listener.accept()
                    with suppress(OSError), plain, context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(1)
                        connection.sendall(SHOWN if connection.getpeercert() else NOT_SHOWN)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield listener
        with suppress(OSError):
            create_connection(listener.getsockname()).close()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_of_an_authority_that_no_longer_counts_is_not_taken_up(
    listening: socket, first: Authority, client_ca: Path, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = ssl.create_default_context(cafile=first.certificate)
    context.maximum_version = version
    context.load_cert_chain(*first.signed("shop", "shop.example"))

    def asked(session: ssl.SSLSession | None) -> tuple[bytes, ssl.SSLSession | None]:
        plain = create_connection(listening.getsockname(), DEADLINE_S)
        with context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as connection:
            connection.sendall(b"x")
            return connection.recv(1), connection.session

    told, session = asked(None)
    assert SHOWN == told
    assert SHOWN == asked(session)[0]
    shutil.copy(authority(tmp_path / "second").certificate, client_ca)
    with pytest.raises(OSError):
        asked(session)
    shutil.copy(first.certificate, client_ca)
    assert SHOWN == asked(None)[0]


def test_client_without_a_certificate_is_let_in(listening: socket, first: Authority) -> None:
    """The boundary answers it 401."""
    context = ssl.create_default_context(cafile=first.certificate)
    plain = create_connection(listening.getsockname(), DEADLINE_S)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
        connection.sendall(b"x")
        assert NOT_SHOWN == connection.recv(1)
