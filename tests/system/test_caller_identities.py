"""Who calls, by the file `identities` of a running server: what is taken out of it ends at the next call."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from cryptography import x509
from support.certificates import Authority
from support.questions import check
from support.server import DEADLINE_S, Health, Server, access_of, remit, until

from remit.audit.ids import parse_id
from remit.client import AsyncClient, Client, DecisionUnavailable, MutualTls
from remit.rpc.identity import LONGEST_TOKEN
from remit.v1 import audit_service_pb2_grpc, policy_service_pb2, policy_service_pb2_grpc
from remit.v1.audit_service_pb2 import FollowRecordsRequest, RecordFilter

BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
REFUSED = ("UNAUTHENTICATED", "the credential was not accepted")
WEB = "spiffe://acme.example/web"
TOKEN, NEXT = "t" * 43, "n" * 43


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


class IdentitiesFile:
    """The file `identities` of a server, as JSON, which is YAML too."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, *callers: dict[str, Any], **sections: Any) -> None:
        self.path.write_text(json.dumps({"callers": callers, **sections}))

    @contextmanager
    def holding(self, *callers: dict[str, Any], **sections: Any) -> Iterator[None]:
        """Other content for the block."""
        before = self.path.read_text()
        self.write(*callers, **sections)
        try:
            yield
        finally:
            self.path.write_text(before)


ROWS: list[dict[str, Any]] = [
    {"as": "service:web", "uri": WEB},
    {
        "as": "service:batch",
        "token": [{"sha256": digest(TOKEN)}, {"sha256": digest(NEXT), "expires": "2001-01-01"}],
    },
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def identities(tmp_path_factory: pytest.TempPathFactory) -> IdentitiesFile:
    file = IdentitiesFile(tmp_path_factory.mktemp("identities") / "identities.yaml")
    file.write(*ROWS)
    return file


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority, identities: IdentitiesFile
) -> Iterator[Server]:
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    flags += ("--identities", str(identities.path), "--auditors", "service:auditor", "--operators", "service:auditor")
    with Server(tmp_path_factory.mktemp("server"), *flags, policies=untested) as started:
        yield started


@pytest.fixture(scope="module")
def server_only(
    tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority, identities: IdentitiesFile
) -> Iterator[Server]:
    """TLS without certificates of callers."""
    cert, key = authority.signed("server", "127.0.0.1")
    flags = ("--tls-cert", str(cert), "--tls-key", str(key), "--identities", str(identities.path))
    with Server(tmp_path_factory.mktemp("server-only"), *flags, policies=untested) as started:
        yield started


NUMBERS = count()


@pytest.fixture
def connect(server: Server, authority: Authority) -> Callable[..., Client]:
    def connected(*names: x509.GeneralName, token: Any = None, **options: Any) -> Client:
        files = authority.issued(f"caller{next(NUMBERS)}", names, **options)
        return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(files), token=token)

    return connected


def web() -> x509.GeneralName:
    return x509.UniformResourceIdentifier(WEB)


def code_of(call: Callable[[], object]) -> tuple[str, str]:
    """The status of a call and its text; empty if it was answered."""
    try:
        call()
    except DecisionUnavailable as error:
        return error.code, error.message
    return "", ""


def recorded_caller(server: Server, client: Client) -> str:
    with server.store() as store:
        record = store.decision(parse_id(client.tenant("acme").guard(*BOB_VIEWS).decision_id))
    assert record is not None
    return record.caller


def until_told(server: Server, text: str) -> None:
    """Waits until the server's log has the cause of a refusal: it comes after the answer."""

    def is_told() -> bool:
        return any(text in line["cause"] for line in server.logs if line["event"] == "credential refused")

    until(is_told, f"a refusal because {text}")


def test_row_names_the_caller_and_ends_at_the_next_call(
    server: Server, connect: Callable[..., Client], identities: IdentitiesFile
) -> None:
    with connect(web()) as client:
        assert "service:web" == recorded_caller(server, client)
        with identities.holding({"as": "service:front", "uri": WEB}):
            until(lambda: recorded_caller(server, client) == "service:front", "another row names the caller")
        until(lambda: recorded_caller(server, client) == "service:web", "the first row names the caller again")


def test_token_names_the_caller_and_ends_at_the_next_call(
    server: Server, connect: Callable[..., Client], identities: IdentitiesFile
) -> None:
    with connect(web(), token=TOKEN) as client:
        assert "service:batch" == recorded_caller(server, client)
        with identities.holding(ROWS[0]):
            until(lambda: code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS)) == REFUSED, "the token ends")
        until(lambda: code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS)) == ("", ""), "the token counts again")


def test_certificate_without_a_name_opens_the_door_for_a_token(server: Server, connect: Callable[..., Client]) -> None:
    with connect(x509.RFC822Name("a@acme.example"), token=TOKEN) as client:
        assert "service:batch" == recorded_caller(server, client)


def test_refused_certificate_ends_at_the_next_call(
    server: Server, authority: Authority, identities: IdentitiesFile
) -> None:
    """With a token too; another certificate of the same name goes on."""
    files, others = authority.issued("stolen", [web()]), authority.issued("renewed", [web()])
    with (
        Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(files)) as client,
        Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(files), token=TOKEN) as bearer,
        Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(others)) as renewed,
    ):
        assert "service:web" == recorded_caller(server, client)
        with identities.holding(*ROWS, refused=[authority.fingerprint(files)]):
            until(lambda: code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS)) == REFUSED, "the certificate ends")
            assert REFUSED == code_of(lambda: bearer.tenant("acme").guard(*BOB_VIEWS))
            assert "service:web" == recorded_caller(server, renewed)
    until_told(server, f"the certificate of `{WEB}` is in `refused`")


def test_certificate_that_expires_ends_at_the_next_call(server: Server, connect: Callable[..., Client]) -> None:
    with connect(x509.DNSName("brief.acme.example"), lifetime_s=3) as client:
        assert "service:dns/brief.acme.example" == recorded_caller(server, client)
        until(lambda: code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS)) == REFUSED, "the certificate ends")
    until_told(server, "the certificate of `dns/brief.acme.example` has expired")


def test_streams_end_with_their_credential(server: Server, authority: Authority, identities: IdentitiesFile) -> None:
    files = authority.issued("auditor", [x509.UniformResourceIdentifier("spiffe://acme.example/auditor")])
    row = {"as": "service:auditor", "uri": "spiffe://acme.example/auditor"}
    credentials = authority.credentials(files)
    with grpc.secure_channel(server.target, credentials) as channel:
        with identities.holding(*ROWS, row):
            audits = audit_service_pb2_grpc.AuditServiceStub(channel)
            followed = FollowRecordsRequest(filter=RecordFilter(tenant="acme"))

            def begun() -> Any:
                stream = audits.FollowRecords(followed, timeout=DEADLINE_S)
                try:
                    next(stream)
                except grpc.RpcError:
                    return None
                return stream

            streams: list[Any] = []
            until(lambda: streams.append(begun()) or streams[-1], "the row counts")
            watch = policy_service_pb2_grpc.PolicyServiceStub(channel).WatchRevision(
                policy_service_pb2.WatchRevisionRequest(), timeout=DEADLINE_S
            )
            next(watch)
            health = Health(channel).watch()
            next(health)
        # The row is gone: the certificate names another caller.
        for stream in (streams[-1], watch):
            with pytest.raises(grpc.RpcError) as ended:
                list(stream)
            assert grpc.StatusCode.UNAUTHENTICATED is ended.value.code()
        assert [] == list(health)


def test_half_written_file_keeps_the_last_good_one(
    server: Server, connect: Callable[..., Client], authority: Authority, identities: IdentitiesFile
) -> None:
    """Status and records name the mistake."""
    files = authority.issued("operator", [x509.UniformResourceIdentifier("spiffe://acme.example/operator")])
    row = {"as": "service:auditor", "uri": "spiffe://acme.example/operator"}
    options = ("--tls-server-ca", str(authority.certificate), "--tls-cert", str(files[0]), "--tls-key", str(files[1]))
    before = identities.path.read_text()
    identities.write(*ROWS, row)
    try:
        with (
            Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(files)) as operator,
            connect(web()) as client,
        ):
            until(lambda: recorded_caller(server, operator) == "service:auditor", "the row counts")
            whole = identities.path.read_text()
            identities.path.write_text(whole[: len(whole) // 2])
            until(lambda: operator.status().identities_error, "status tells the mistake")
            assert f"{identities.path}:1:" in operator.status().identities_error
            assert "service:web" == recorded_caller(server, client)
            assert "" == client.status("acme").identities_error or "does not load" in client.status().identities_error
            shown = remit("status", "--target", server.target, *options)
            assert 1 == shown.returncode
            assert "identities: the last good version counts" in shown.stdout
            identities.path.write_text(whole)
            until(lambda: not operator.status().identities_error, "the whole file counts")
        with server.store() as store:
            refused = store.lifecycle(type_="IDENTITIES_REFUSED")
        assert refused
        assert f"{identities.path}:1:" in json.loads(refused[0].detail)["diagnostics"][0]
    finally:
        identities.path.write_text(before)


def metadata_of(*values: str) -> tuple[tuple[str, str], ...]:
    return tuple(("authorization", value) for value in values)


REFUSED_HEADERS: dict[str, Sequence[str]] = {
    "an unknown token": [f"Bearer {'u' * 43}"],
    "a token cut short": [f"Bearer {TOKEN[:-1]}"],
    "a longer token": [f"Bearer {TOKEN}t"],
    "the digest of a token": [f"Bearer {digest(TOKEN)}"],
    "an expired token": [f"Bearer {NEXT}"],
    "the same token twice": [f"Bearer {TOKEN}"] * 2,
    "two tokens in one value": [f"Bearer {TOKEN}, Bearer {TOKEN}"],
    "two tokens after one scheme": [f"Bearer {TOKEN} {TOKEN}"],
    "a token and a password": [f"Bearer {TOKEN}", "Basic YTpi"],
    "a password": ["Basic YTpi"],
    "a token without a scheme": [TOKEN],
    "a scheme without a token": ["Bearer "],
    "a scheme alone": ["Bearer"],
    "nothing": [""],
    "a JWT": ["Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0."],
    "9 KB": [f"Bearer {'t' * 9_000}"],
}


def asked(server: Server, credentials: grpc.ChannelCredentials, metadata: Any) -> str:
    """The caller in the record of a Check, or the status and text of its refusal."""
    with grpc.secure_channel(server.target, credentials) as channel:
        try:
            response = access_of(channel).Check(check(), timeout=DEADLINE_S, metadata=metadata)
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"
    with server.store() as store:
        record = store.decision(parse_id(response.decision.decision_id))
    assert record is not None
    return record.caller


@pytest.mark.parametrize("case", REFUSED_HEADERS)
def test_token_that_does_not_count_is_refused(server: Server, authority: Authority, case: str) -> None:
    """The certificate of the connection does not stand in for it, and the text is one for all."""
    credentials = authority.credentials(authority.issued("bearer", [web()]))
    assert " ".join(REFUSED) == asked(server, credentials, metadata_of(*REFUSED_HEADERS[case]))


def test_longest_token_is_read_at_every_call(server: Server, authority: Authority) -> None:
    """gRPC refuses a part of the calls whose headers are larger than its own limit, which is as large as this token."""
    credentials = authority.credentials(authority.issued("bearer", [web()]))
    longest = metadata_of(f"Bearer {'t' * (LONGEST_TOKEN - len('Bearer '))}")
    assert {" ".join(REFUSED)} == {asked(server, credentials, longest) for _ in range(40)}


@pytest.mark.parametrize(
    "header", ["x-forwarded-client-cert", "x-forwarded-for", "x-remote-user", "x-tenant-id", "x-remit-caller"]
)
def test_other_headers_name_nobody(server: Server, authority: Authority, header: str) -> None:
    credentials = authority.credentials(authority.issued("bearer", [web()]))
    metadata = [(header, "URI=spiffe://acme.example/oncall"), ("authorization-bin", f"Bearer {TOKEN}".encode())]
    assert "service:web" == asked(server, credentials, metadata)


def test_scheme_may_be_written_in_any_case(server: Server, authority: Authority) -> None:
    credentials = authority.credentials(authority.issued("bearer", [web()]))
    assert "service:batch" == asked(server, credentials, metadata_of(f"bearer {TOKEN}"))


def test_token_without_tls_is_refused(tmp_path: Path, untested: Path, identities: IdentitiesFile) -> None:
    with Server(tmp_path, "--identities", str(identities.path), policies=untested) as plain:
        with plain.channel() as channel:
            with pytest.raises(grpc.RpcError) as refused:
                access_of(channel).Check(check(), timeout=DEADLINE_S, metadata=metadata_of(f"Bearer {TOKEN}"))
            assert grpc.StatusCode.UNAUTHENTICATED is refused.value.code()
            assert REFUSED[1] == refused.value.details()
            access_of(channel).Check(check(), timeout=DEADLINE_S)
        with pytest.raises(ValueError, match="over TLS only"):
            Client(plain.target, token=TOKEN)


def test_server_without_certificates_of_callers_wants_a_token(server_only: Server, authority: Authority) -> None:
    tokens = iter(["", TOKEN, "u" * 43, "two words", "line\nfeed"])
    with Client(server_only.target, timeout_s=DEADLINE_S, server_ca=authority.certificate) as client:
        assert REFUSED == code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS))
    with Client(
        server_only.target, timeout_s=DEADLINE_S, server_ca=authority.certificate, token=lambda: next(tokens)
    ) as client:
        codes = [code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS)) for _ in range(6)]
    assert ["UNAUTHENTICATED", "", *["UNAUTHENTICATED"] * 4] == [code for code, _ in codes]
    assert REFUSED == codes[2]
    assert "two words" not in str(codes)
    # A certificate proves nothing where nobody asked for it.
    credentials = authority.credentials(authority.issued("bearer", [web()]))
    assert " ".join(REFUSED) == asked(server_only, credentials, ())


def test_client_for_asyncio_shows_its_token(server_only: Server, authority: Authority) -> None:
    async def asks() -> str:
        client = AsyncClient(
            server_only.target, timeout_s=DEADLINE_S, server_ca=authority.certificate, token=lambda: TOKEN, cache=1
        )
        async with client:
            return (await client.tenant("acme").guard(*BOB_VIEWS)).decision_id

    assert asyncio.run(asks())


def test_certificate_of_the_authority_itself_names_no_caller(
    server: Server, authority: Authority, tmp_path: Path
) -> None:
    cert, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    authority.ca.cert_pem.write_to_path(cert)
    authority.ca.private_key_pem.write_to_path(key)
    tls = MutualTls(authority.certificate, cert, key)
    with Client(server.target, timeout_s=2, tls=tls) as client:
        code, _ = code_of(lambda: client.tenant("acme").guard(*BOB_VIEWS))
    assert code in {"UNAUTHENTICATED", "UNAVAILABLE"}
