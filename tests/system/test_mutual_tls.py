import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trustme
from cryptography import x509
from support.certificates import Authority
from support.questions import check
from support.server import DEADLINE_S, Server, access_of, remit, remit_process

from remit.audit.ids import parse_id
from remit.client import Client, DecisionUnavailable, MutualTls

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
SPIFFE = "spiffe://acme.example/ns/prod/sa/web"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[Server]:
    cert, key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, key)
    flags += ("--operators", "spiffe://acme.example/operator, operator.acme.example")
    with Server(tmp_path_factory.mktemp("tls"), *flags, policies=untested) as started:
        yield started


def caller_in_record(server: Server, tls: MutualTls) -> str:
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client, server.store() as store:
        record = store.decision(parse_id(client.tenant("acme").guard(*BOB_VIEWS).decision_id))
    assert record is not None
    return record.caller


def test_the_caller_is_recorded_by_the_uri_of_its_certificate(server: Server, authority: Authority) -> None:
    """Also where the certificate names a DNS name before it."""
    names = [x509.DNSName("web.acme.example"), x509.UniformResourceIdentifier(SPIFFE)]
    files = authority.issued("workload", names)
    assert f"service:{SPIFFE}" == caller_in_record(server, authority.caller(files))


def test_the_caller_is_recorded_by_its_dns_name_where_there_is_no_uri(server: Server, authority: Authority) -> None:
    files = authority.signed("dns", "web.acme.example", "www.acme.example")
    assert "service:dns/web.acme.example" == caller_in_record(server, authority.caller(files))


def test_a_caller_without_a_certificate_is_refused(server: Server, authority: Authority) -> None:
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
    with grpc.secure_channel(server.target, credentials) as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).Check(check(), timeout=DEADLINE_S)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_refused_tls_callers_write_only_json_lines(
    tmp_path: Path, untested: Path, authority: Authority, workers: tuple[str, ...]
) -> None:
    """Logs are JSON lines. A caller that shakes hands with no certificate, or speaks no TLS, leaves none."""
    cert, key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, key)
    with Server(tmp_path, *flags, *workers, policies=untested) as server:
        nameless = grpc.ssl_channel_credentials(authority.certificate.read_bytes())
        for _ in range(3):
            for channel in (grpc.secure_channel(server.target, nameless), server.channel()):
                with channel, pytest.raises(grpc.RpcError):
                    access_of(channel).Check(check(), timeout=DEADLINE_S)
        assert 0 == server.terminate()
    assert [] == [line for line in server.logs if "level" not in line]


def test_caller_with_a_certificate_of_another_authority_is_refused(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    files = Authority(tmp_path, trustme.CA()).signed("stranger", "web.acme.example")
    with (
        Client(server.target, timeout_s=2, tls=authority.caller(files)) as client,
        pytest.raises(DecisionUnavailable),
    ):
        client.tenant("acme").guard(*BOB_VIEWS)


def test_the_files_may_be_named_by_texts(server: Server, authority: Authority) -> None:
    cert, key = authority.signed("texts", "texts.acme.example")
    tls = MutualTls(str(authority.certificate), str(cert), str(key))
    assert "service:dns/texts.acme.example" == caller_in_record(server, tls)


def test_a_caller_without_tls_is_refused(server: Server) -> None:
    with server.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        access_of(channel).Check(check(), timeout=DEADLINE_S)
    assert grpc.StatusCode.UNAVAILABLE is caught.value.code()


def test_metrics_need_a_certificate(server: Server, authority: Authority) -> None:
    url = f"https://127.0.0.1:{server.metrics_port}/metrics"
    context = ssl.create_default_context(cafile=authority.certificate)
    with pytest.raises(urllib.error.HTTPError, match="403") as refused:
        urllib.request.urlopen(url, timeout=DEADLINE_S, context=context)
    with refused.value:
        assert b"remit_" not in refused.value.read()
    context.load_cert_chain(*authority.signed("prometheus", "prometheus.acme.example"))
    with urllib.request.urlopen(url, timeout=DEADLINE_S, context=context) as answer:
        assert b"remit_decisions_total" in answer.read()


def test_the_command_line_asks_with_a_certificate(server: Server, authority: Authority) -> None:
    cert, key = authority.signed("operator", "operator.acme.example")
    files = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(cert), "--tls-key", str(key))
    asked = remit("check", "acme", *BOB_VIEWS, "--target", server.target, *files)
    assert (0, "allow ALLOWED_BY_RULE\n") == (asked.returncode, asked.stdout)


def test_only_operators_pin_revisions(server: Server, authority: Authority) -> None:
    """Others may ask and list; what they try leaves no record."""
    with server.store() as store:
        told = {}
        for name in ("web.acme.example", "operator.acme.example"):
            cert, key = authority.signed(name, name)
            files = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(cert), "--tls-key", str(key))
            with Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller((cert, key))) as client:
                revision = client.status("acme").tenants[0].revision
            told[name] = remit("rollback", "acme", revision, "--target", server.target, *files)
            pinned = store.lifecycle(type_="POLICY_PINNED")
            assert (name == "operator.acme.example") == bool(pinned), told[name].stderr
    assert "`service:dns/web.acme.example` may not PIN in `acme`" in told["web.acme.example"].stderr
    assert 0 == told["operator.acme.example"].returncode
    assert 0 == remit("rollback", "acme", "--unpin", "--target", server.target, *files).returncode


def test_without_tls_on_the_loopback_the_caller_is_anonymous(tmp_path: Path, untested: Path) -> None:
    with Server(tmp_path, policies=untested) as plain, plain.client() as client, plain.store() as store:
        record = store.decision(parse_id(client.tenant("acme").guard(*BOB_VIEWS).decision_id))
    assert record is not None
    assert "anonymous" == record.caller


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--listen", "0.0.0.0:0"), ["`listen`", "`0.0.0.0:0`", "`tls_cert`", "`tls_key`", "`tls_client_ca`"]),
        (("--metrics", "0.0.0.0:0"), ["`metrics`", "`tls_cert`"]),
        (("--tls-cert", "cert.pem", "--tls-key", "key.pem"), ["set `tls_client_ca`"]),
        (("--tls-cert", "a", "--tls-key", "b", "--tls-client-ca", "c"), ["`b`", "cannot be read"]),
    ],
)
def test_an_address_that_others_reach_needs_mutual_tls(
    tmp_path: Path, untested: Path, flags: tuple[str, ...], told: list[str]
) -> None:
    """It refuses to start, and says what to set."""
    here = {"--listen": "127.0.0.1:0", "--metrics": "127.0.0.1:0", "--policies": str(untested)}
    named = {**here, "--audit": f"sqlite:///{tmp_path / 'audit.db'}", **dict(zip(flags[::2], flags[1::2], strict=True))}
    refused = remit_process("serve", *(each for flag in named.items() for each in flag))
    assert 3 == refused.returncode
    assert [] == [each for each in told if each not in refused.stderr], refused.stderr


def test_file_without_a_key_is_refused(tmp_path: Path, untested: Path, authority: Authority) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no key\n")
    cert, _ = authority.signed("server", "127.0.0.1")
    tls = authority.server_flags(cert, rubbish)
    plain = ("--listen", "127.0.0.1:0", "--metrics", "", "--policies", str(untested))
    refused = remit_process("serve", *plain, "--audit", f"sqlite:///{tmp_path / 'audit.db'}", *tls)
    assert 3 == refused.returncode
    assert "remit does not start" in refused.stderr
