"""Whom a certificate names, by a real server and certificates as no honest authority issues them."""

import ipaddress
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.x509.oid import NameOID, ObjectIdentifier
from support.certificates import Authority
from support.server import DEADLINE_S, Server, until

from remit.audit.ids import parse_id
from remit.client import Asked, Client, DecisionUnavailable
from remit.v1 import policy_service_pb2 as messages

REFUSED_TEXT = "the credential was not accepted"
BOB_VIEWS = ("user:bob", "VIEW", "FLOW", "acme.finance")
OPERATOR = "spiffe://acme.example/oncall"
HOST = "reports.acme.example"
WEB = "spiffe://acme.example/web"

Uri, Dns, Mail = x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name
Names = Sequence[x509.GeneralName] | bytes | None

OTHER_TYPES: list[x509.GeneralName] = [
    Mail("web@acme.example"),
    x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])),
    x509.RegisteredID(ObjectIdentifier("1.2.3.4")),
    x509.OtherName(ObjectIdentifier("1.2.3.4"), b"\x0c\x03web"),
]

ACCEPTED: dict[str, tuple[Names, Sequence[str], str]] = {
    "a URI": ([Uri(WEB)], (), f"service:{WEB}"),
    "a URN": ([Uri("urn:acme:web")], (), "service:urn:acme:web"),
    "a URI before all other types": (
        [Mail(OPERATOR), Dns(HOST), *OTHER_TYPES, Uri(WEB)],
        (OPERATOR,),
        f"service:{WEB}",
    ),
    "the first DNS name": ([*OTHER_TYPES, Dns(HOST), Dns("www.acme.example")], (OPERATOR,), f"service:dns/{HOST}"),
    "a common name": (None, ("reports",), "service:cn/reports"),
    "a common name like a host": (None, (HOST,), f"service:cn/{HOST}"),
    "a common name like the caller without TLS": (None, ("anonymous",), "service:cn/anonymous"),
    "a common name that is mapped": (None, ("Reports of Ácme",), "service:reports"),
}

REFUSED: dict[str, tuple[Names, Sequence[str], str]] = {
    "no name": (None, (), "neither an alternative name nor a common name"),
    "an empty common name": (None, ("",), "expected 1 to 512"),
    "an empty alternative name": ([], (HOST,), ""),
    "a URI that is no ASCII": (b"\x30\x08\x86\x06urn:\xc3\xa9", (HOST,), "expected a URI"),
    "an empty URI": ([Uri("")], (HOST,), "expected 1 to 512"),
    "an empty DNS name": ([Dns("")], (HOST,), "expected 1 to 512"),
    "an e-mail address alone": ([Mail(HOST)], (HOST,), "neither a URI nor a DNS name"),
    "an e-mail address like a URI": ([Mail(OPERATOR)], (HOST,), "neither a URI nor a DNS name"),
    "no type that is a name": (OTHER_TYPES, (HOST,), "neither a URI nor a DNS name"),
    "two URIs": ([Uri(OPERATOR), Uri(WEB)], (), "2 URIs"),
    "two URIs in the other order": ([Uri(WEB), Uri(OPERATOR)], (), "2 URIs"),
    "the same URI twice": ([Uri(OPERATOR), Uri(OPERATOR)], (), "2 URIs"),
    "two common names": (None, (HOST, "web"), "2 common names"),
    "a URI's text as DNS name": ([Dns(OPERATOR)], (), "cannot be the DNS name"),
    "a URI's text as common name": (None, (OPERATOR,), "reads as a URI"),
    "a URN as common name": (None, ("urn:acme:web",), "reads as a URI"),
    "no scheme": ([Uri(HOST)], (), "expected a URI"),
    "a scheme alone": ([Uri("spiffe:")], (), "expected a URI"),
    "NUL in a URI": ([Uri(f"{OPERATOR}\0.evil")], (), "expected a URI"),
    "NUL in a DNS name": ([Dns(f"{HOST}\0.evil.example")], (), "cannot be the DNS name"),
    "NUL in a common name": (None, (f"{HOST}\0.evil",), "expected printable"),
    "a line feed": (None, (f"{HOST}\n",), "expected printable"),
    "an escape": ([Uri(f"{OPERATOR}\x1b[2J")], (), "expected a URI"),
    "a mark that turns the direction": (None, (f"{HOST}\u202e",), "expected printable"),
    "a blank at the end": (None, (f"{HOST} ",), "without blanks at an end"),
    "a blank in a URI": ([Uri(f"{OPERATOR} x")], (), "expected a URI"),
    "a URI that is too long": ([Uri(WEB + "x" * 512)], (), "expected 1 to 512"),
    "a URI that is too long for a principal": ([Uri(WEB + "x" * 256)], (), "1 to 256"),
    "a common name that is too long": (None, ("x" * 513,), "expected 1 to 512"),
    "a common name that is no ID": (None, ("Reports of Others",), "cannot be the ID of a principal"),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[Server]:
    """Its lists end with a comma, as those of people in a hurry do."""
    cert, key = authority.signed("server", "127.0.0.1")
    flags = authority.server_flags(cert, key)
    flags += ("--operators", f"{OPERATOR}, {HOST},", "--auditors", f"{OPERATOR}, {HOST}=acme, ,")
    folder = tmp_path_factory.mktemp("identities")
    identities = folder / "identities.yaml"
    identities.write_text("callers:\n  - {as: service:reports, cn: Reports of Ácme}\n")
    with Server(folder, *flags, "--identities", str(identities), policies=untested) as started:
        yield started


@pytest.fixture
def connect(server: Server, authority: Authority) -> Callable[[Names, Sequence[str]], Client]:
    numbers = count()

    def connected(alternatives: Names, common_names: Sequence[str]) -> Client:
        files = authority.issued(f"caller{next(numbers)}", alternatives, common_names)
        return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(files))

    return connected


@pytest.mark.parametrize("case", ACCEPTED)
def test_certificate_names_one_caller(
    server: Server, connect: Callable[[Names, Sequence[str]], Client], case: str
) -> None:
    alternatives, common_names, name = ACCEPTED[case]
    with connect(alternatives, common_names) as client, server.store() as store:
        record = store.decision(parse_id(client.tenant("acme").guard(*BOB_VIEWS).decision_id))
    assert record is not None
    assert name == record.caller


@pytest.mark.parametrize("case", REFUSED)
def test_certificate_without_a_usable_name_is_refused(
    server: Server, connect: Callable[[Names, Sequence[str]], Client], case: str
) -> None:
    """Everything: questions, pins and the audit. Nothing is recorded of it, so that all nameless callers never are one."""
    alternatives, common_names, why = REFUSED[case]
    with server.store() as store:
        decided, happened = store.decisions(limit=1), store.lifecycle(limit=1)
        with connect(alternatives, common_names) as client:
            calls: list[Callable[[], object]] = [
                lambda: client.tenant("acme").guard(*BOB_VIEWS),
                lambda: client.tenant("acme").batch_check([Asked(*BOB_VIEWS)]),
                lambda: client.ask(messages.PinRevisionRequest(tenant="acme", revision="0" * 8)),
                lambda: list(client.list_records()),
                lambda: next(client.follow_records()),
                client.status,
            ]
            for call in calls:
                with pytest.raises(DecisionUnavailable) as caught:
                    call()
                assert ("UNAUTHENTICATED", REFUSED_TEXT) == (caught.value.code, caught.value.message)
        # The log comes after the answer.
        until(lambda: any(why in line["cause"] for line in server.logs if line["event"] == "credential refused"), why)
        assert (decided, happened) == (store.decisions(limit=1), store.lifecycle(limit=1))
