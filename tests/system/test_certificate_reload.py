"""Certificates change under a running server and under running clients, and no call fails."""

import asyncio
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest
import trustme
from cryptography import x509
from support.certificates import Authority
from support.server import DEADLINE_S, Server, until

from remit.audit.ids import parse_id
from remit.client import AsyncClient, Client, DecisionUnavailable, MutualTls

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")


class ServedFiles:
    """The three PEM files of a server, to be replaced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.cert, self.key, self.client_ca = (folder / name for name in ("cert.pem", "key.pem", "ca.pem"))

    @property
    def flags(self) -> tuple[str, ...]:
        return ("--tls-cert", str(self.cert), "--tls-key", str(self.key), "--tls-client-ca", str(self.client_ca))

    def take(self, files: tuple[Path, Path]) -> None:
        for new, old in zip(files, (self.cert, self.key), strict=True):
            replace(new, old)


def replace(new: Path, old: Path) -> None:
    """In one step, as those who rotate certificates do."""
    beside = old.with_suffix(".new")
    shutil.copy(new, beside)
    beside.replace(old)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    folder = tmp_path / "authority"
    folder.mkdir()
    return Authority(folder, trustme.CA())


@pytest.fixture
def served(tmp_path: Path, authority: Authority) -> ServedFiles:
    files = ServedFiles(tmp_path / "served")
    files.take(authority.signed("server", "127.0.0.1"))
    replace(authority.certificate, files.client_ca)
    return files


@pytest.fixture
def server(tmp_path: Path, untested: Path, served: ServedFiles) -> Iterator[Server]:
    with Server(tmp_path / "server", *served.flags, policies=untested) as started:
        yield started


def serial_at(port: int, tls: MutualTls) -> int:
    """The serial number of the certificate that a new connection gets."""
    context = ssl.create_default_context(cafile=tls.server_ca)
    context.load_cert_chain(tls.cert, tls.key)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        found = connection.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


def serial_in(file: Path) -> int:
    return x509.load_pem_x509_certificate(file.read_bytes()).serial_number


def caller_of(server: Server, client: Client) -> str:
    with server.store() as store:
        record = store.decision(parse_id(client.tenant("acme").guard(*BOB_VIEWS).decision_id))
    assert record is not None
    return record.caller


@contextmanager
def asking(client: Client) -> Iterator[Callable[[], int]]:
    """Asks all the time, and fails the test if one call fails. Gives the number of answers so far."""
    stop, answers, failed = Event(), [0], list[Exception]()

    def ask() -> None:
        while not stop.wait(0.002):
            try:
                client.tenant("acme").guard(*BOB_VIEWS)
            except Exception as error:  # noqa: BLE001 (the test fails with it)
                failed.append(error)
                return
            answers[0] += 1

    thread = Thread(target=ask)
    thread.start()
    try:
        yield lambda: answers[0]
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert [] == failed


def test_renewed_certificate_serves_without_a_dropped_call(
    server: Server, served: ServedFiles, authority: Authority
) -> None:
    """Also at the metrics."""
    tls = authority.caller(authority.signed("caller", "caller.acme.example"))
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client, asking(client) as answers:
        for number in range(3):
            renewed = authority.signed(f"renewed{number}", "127.0.0.1")
            served.take(renewed)
            for port in (server.port, server.metrics_port):
                until(lambda port=port, renewed=renewed: serial_at(port, tls) == serial_in(renewed[0]), "it is renewed")
            with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as other:
                other.tenant("acme").guard(*BOB_VIEWS)
        before = answers()
        until(lambda: answers() > before, "the first connection goes on")


def test_status_says_when_the_certificate_of_the_server_ends(
    server: Server, served: ServedFiles, authority: Authority
) -> None:
    tls = authority.caller(authority.signed("caller", "caller.acme.example"))
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client:
        assert end_of(served.cert) == client.status().certificate_expires_us
        first = end_of(served.cert)
        served.take(authority.issued("short", [x509.IPAddress(IPv4Address("127.0.0.1"))], lifetime_s=3_600))
        assert end_of(served.cert) < first
        until(lambda: client.status().certificate_expires_us == end_of(served.cert), "the end of the renewed one")


def end_of(cert: Path) -> int:
    """In microseconds since the Unix epoch."""
    return int(x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp() * 1e6)


def test_certificate_without_its_key_keeps_the_last_good_one(
    server: Server, served: ServedFiles, authority: Authority
) -> None:
    tls = authority.caller(authority.signed("caller", "caller.acme.example"))
    before, renewed = serial_in(served.cert), authority.signed("renewed", "127.0.0.1")
    replace(renewed[0], served.cert)
    for port in (server.port, server.metrics_port):
        assert before == serial_at(port, tls)
    line = server.wait_for("certificates not taken over")
    assert "key values mismatch" in line["error"]
    served.key.write_text("no key\n")
    served.client_ca.write_text("no certificate\n")
    assert before == serial_at(server.port, tls)
    served.client_ca.unlink()
    assert before == serial_at(server.port, tls)
    replace(authority.certificate, served.client_ca)
    replace(renewed[1], served.key)
    for port in (server.port, server.metrics_port):
        until(lambda port=port: serial_at(port, tls) == serial_in(renewed[0]), "the pair is taken over")


def test_replaced_authority_counts_for_new_connections(
    tmp_path: Path, untested: Path, served: ServedFiles, authority: Authority
) -> None:
    """A connection that is open ends with its age."""
    folder = tmp_path / "other"
    folder.mkdir()
    other = Authority(folder, trustme.CA())
    old = authority.caller(authority.signed("caller", "old.acme.example"))
    new = MutualTls(authority.certificate, *other.signed("caller", "new.acme.example"))
    flags = (*served.flags, "--connection-max-age-s", "4", "--grace-s", "1")
    with (
        Server(tmp_path / "aging", *flags, policies=untested) as server,
        Client(server.target, timeout_s=2, tls=old) as client,
    ):
        assert "service:dns/old.acme.example" == caller_of(server, client)
        replace(other.certificate, served.client_ca)
        with Client(server.target, timeout_s=DEADLINE_S, tls=new) as successor:
            assert "service:dns/new.acme.example" == caller_of(server, successor)

        def refused() -> bool:
            try:
                client.tenant("acme").guard(*BOB_VIEWS)
            except DecisionUnavailable as error:
                return error.code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
            return False

        until(refused, "the old connection ends")


def test_calls_and_streams_go_on_over_the_end_of_a_connection(
    tmp_path: Path, untested: Path, served: ServedFiles, authority: Authority
) -> None:
    tls = authority.caller(authority.signed("caller", "caller.acme.example"))
    flags = (*served.flags, "--connection-max-age-s", "1", "--grace-s", "0.1", "--auditors", "caller.acme.example")
    with (
        Server(tmp_path / "aging", *flags, policies=untested) as server,
        Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client,
        Client(server.target, timeout_s=DEADLINE_S, tls=tls) as follower,
        Client(server.target, timeout_s=DEADLINE_S, tls=tls, cache=10) as cached,
    ):
        seen: set[str] = set()

        def follow() -> None:
            with suppress(DecisionUnavailable):  # the client was closed
                for record in follower.follow_records():
                    seen.add(record.id)

        Thread(target=follow, daemon=True).start()
        with asking(client):
            until(lambda: seen, "the follower begins")
            ends = monotonic() + 3.5
            while monotonic() < ends:
                asked = client.tenant("acme").guard(*BOB_VIEWS).decision_id
                until(lambda asked=asked: asked in seen, "the follower goes on")

        def from_cache() -> bool:
            return (
                cached.tenant("acme").check(*BOB_VIEWS).decision_id
                == cached.tenant("acme").check(*BOB_VIEWS).decision_id
            )

        until(from_cache, "the watch of the cache goes on")


def test_client_shows_its_renewed_certificate(server: Server, authority: Authority, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    old, new = (authority.signed(name, f"{name}.acme.example") for name in ("old", "new"))
    for mine, first in zip((cert, key), old, strict=True):
        replace(first, mine)
    tls = MutualTls(authority.certificate, cert, key)
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client, asking(client) as answers:
        assert "service:dns/old.acme.example" == caller_of(server, client)
        replace(new[0], cert)
        before = answers()
        until(lambda: answers() > before + 5, "half a pair stops no call")
        replace(new[1], key)
        until(lambda: caller_of(server, client) == "service:dns/new.acme.example", "the new certificate is shown")


def test_client_for_asyncio_shows_its_renewed_certificate(server: Server, authority: Authority, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    old, new = (authority.signed(name, f"{name}.acme.example") for name in ("old", "new"))

    async def asks() -> None:
        async with AsyncClient(
            server.target, timeout_s=DEADLINE_S, tls=MutualTls(authority.certificate, cert, key)
        ) as client:
            with server.store() as store:

                async def caller() -> str:
                    record = store.decision(parse_id((await client.tenant("acme").guard(*BOB_VIEWS)).decision_id))
                    assert record is not None
                    return record.caller

                assert "service:dns/old.acme.example" == await caller()
                for mine, second in zip((cert, key), new, strict=True):
                    replace(second, mine)
                while await caller() != "service:dns/new.acme.example":
                    pass

    for mine, first in zip((cert, key), old, strict=True):
        replace(first, mine)
    asyncio.run(asyncio.wait_for(asks(), DEADLINE_S))
