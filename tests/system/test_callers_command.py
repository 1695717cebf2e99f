"""`remit callers` beside a server by mutual TLS: the table that it shows, and rows for what was recorded there."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.certificates import Authority
from support.server import DEADLINE_S, Server, remit

from remit.client import Asked, Client, DecisionUnavailable
from remit.service.callers_starter import write_starter

BINDINGS = """\
g, service:dns/admin.example, role:reader, _callers
g, service:dns/shop.example, role:enforcer, _callers/acme
g, service:dns/audit.example, role:auditor, _callers
"""
BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory, untested: Path) -> Path:
    folder = Path(shutil.copytree(untested, tmp_path_factory.mktemp("callers") / "policies"))
    (write_starter(folder) / "bindings.csv").write_text(BINDINGS)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, policies: Path, authority: Authority) -> Iterator[Server]:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    with Server(tmp_path_factory.mktemp("audit"), *flags, policies=policies) as started:
        yield started


def flags_of(server: Server, authority: Authority, name: str) -> tuple[str, ...]:
    cert, key = authority.signed(name, name)
    tls = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(cert), "--tls-key", str(key))
    return ("--target", server.target, "--timeout", str(DEADLINE_S), *tls)


def client_of(server: Server, authority: Authority, name: str) -> Client:
    return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name)))


def test_list_of_a_server_is_that_of_its_files(server: Server, policies: Path, authority: Authority) -> None:
    by_files = remit("callers", "list", str(policies), "--json")
    by_server = remit("callers", "list", "--json", *flags_of(server, authority, "admin.example"))

    assert 0 == by_server.returncode, by_server.stderr
    assert by_files.stdout == by_server.stdout
    callers = {each["caller"] for each in json.loads(by_server.stdout)["callers"]}
    assert {"service:dns/admin.example", "service:dns/audit.example", "service:dns/shop.example"} == callers


def test_list_of_a_server_needs_rights(server: Server, authority: Authority) -> None:
    done = remit("callers", "list", *flags_of(server, authority, "shop.example"))

    assert (3, "") == (done.returncode, done.stdout)
    assert "PERMISSION_DENIED: `service:dns/shop.example` may not" in done.stderr


def test_what_the_server_recorded_is_replayed_and_proposed(
    server: Server, policies: Path, authority: Authority, tmp_path: Path
) -> None:
    """Calls that the server allowed are allowed by the same rows, and refused by none at all; what it refused is not
    recorded as asked."""
    with client_of(server, authority, "shop.example") as shop:
        shop.tenant("acme").check(*BOB_VIEWS)
        shop.tenant("acme").batch_check([Asked(*BOB_VIEWS)] * 2)
        with pytest.raises(DecisionUnavailable, match="may not EXPLAIN in `acme`"):
            shop.tenant("acme").explain(*BOB_VIEWS)
    with client_of(server, authority, "audit.example") as auditor:
        assert [*auditor.list_records()]
    bare = Path(shutil.copytree(policies, tmp_path / "policies"))
    (bare / "_callers" / "bindings.csv").write_text("")

    allowed = remit("callers", "replay", str(policies), "--audit", server.audit)
    refused = remit("callers", "replay", str(bare), "--audit", server.audit, "--json")
    proposed = remit("callers", "propose", str(bare), "--audit", server.audit)

    assert (0, "") == (allowed.returncode, allowed.stdout), allowed.stderr
    found = {
        (each["caller"], each["tenant"], each["action"]): each["count"]
        for each in json.loads(refused.stdout)["refused"]
    }
    assert 1 == refused.returncode
    assert 3 == found["service:dns/shop.example", "acme", "CHECK"]
    assert 1 == found["service:dns/audit.example", "", "AUDIT"]
    rows = {line for line in proposed.stdout.splitlines() if not line.startswith("#")}
    assert {
        "g, service:dns/shop.example, role:enforcer, _callers/acme",
        "g, service:dns/audit.example, role:auditor, _callers",
    } <= rows
