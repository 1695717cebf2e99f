"""The text of policies: GetSource."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.certificates import Authority
from support.in_process import asked
from support.runtime import files
from support.server import DEADLINE_S, POLICIES, Server, remit
from support.trees import tree_of, write

from remit.client import Client, DecisionUnavailable, RuntimeBinding
from remit.fleet.store import Draft, PolicyStore
from remit.v1.policy_service_pb2 import GetSourceRequest

VOCABULARY = b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n"
READERS = b"""\
p, service:dns/acme.example, _callers, acme, REMIT, *, allow
p, service:dns/root.example, _callers, **, REMIT_INSTANCE, *, allow
p, service:dns/root.example, _callers, **, REMIT, *, allow
"""
SECRET = b"storage:\n  s3: {tenants: [globex]}\n"


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as shared:
        yield shared


def source(**fields: Any) -> GetSourceRequest:
    return GetSourceRequest(**{"tenant": "acme", **fields})


def test_the_files_are_those_of_the_directory(client: Client) -> None:
    found = {each.path: each for each in client.tenant("acme").get_source().files}
    ours = [each for each in POLICIES.glob("acme/**/*") if each.is_file()]
    ours += [POLICIES / each for each in ("vocabulary.yaml", "roles.csv", "resources.yaml")]
    assert found.keys() == {str(each.relative_to(POLICIES)) for each in ours}
    for each in ours:
        content, listed = each.read_bytes(), found[str(each.relative_to(POLICIES))]
        assert (len(content), sha256(content).hexdigest()) == (listed.size_bytes, listed.sha256)


def test_pages_of_files_and_of_lines_put_together_are_the_whole(client: Client) -> None:
    whole = client.ask(source(page_size=1_000))
    pages = [client.ask(source(page_size=2))]
    while pages[-1].next_page_token:
        pages.append(client.ask(source(page_size=2, page_token=pages[-1].next_page_token)))
    assert list(whole.files) == [each for page in pages for each in page.files]
    assert {len(whole.files)} == {page.total_files for page in pages}

    lines, first = [], 1
    while first:
        response = client.tenant("acme").get_source("acme/bindings.csv", first_line=first, lines=7)
        lines += response.lines
        first = response.next_line
    text = (POLICIES / "acme" / "bindings.csv").read_text().splitlines()
    assert text == [each.text for each in lines]
    assert [*range(1, len(text) + 1)] == [each.number for each in lines]
    assert not client.tenant("acme").get_source("acme/bindings.csv", first_line=len(text) + 1).lines


def test_a_row_of_an_explanation_is_found_in_its_source(client: Client) -> None:
    row = client.tenant("acme").explain("user:bob", "VIEW", "FLOW", "acme.finance").rule.row
    (line,) = client.tenant("acme").get_source(row.file, first_line=row.line, lines=1).lines
    assert row.text == ", ".join(each.strip() for each in line.text.split(","))


def test_long_lines_and_long_answers_are_bounded(tmp_path: Path) -> None:
    comment = b"# " + b"x" * 5_000 + b"\n"
    policy = {"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": comment * 400}
    with asked(tmp_path, policy) as (_, client):
        response = client.tenant("acme").get_source("acme/bindings.csv", lines=1_000)
        assert {(4_096, True)} == {(len(each.text), each.cut) for each in response.lines}
        assert 0 < sum(len(each.text) for each in response.lines) <= 1 << 20
        assert (400, len(response.lines) + 1) == (response.total_lines, response.next_line)


@pytest.mark.parametrize(
    ("request_", "code", "text"),
    [
        (source(tenant="No Such"), "INVALID_ARGUMENT", "tenant"),
        (source(revision="abc"), "INVALID_ARGUMENT", "revision"),
        (source(lines=1_001), "INVALID_ARGUMENT", "lines"),
        (source(page_size=1_001), "INVALID_ARGUMENT", "page_size"),
        (source(page_token="nonsense"), "INVALID_ARGUMENT", "page_token"),
        (source(file="x" * 513), "INVALID_ARGUMENT", "file"),
        (source(file="a\x00b"), "INVALID_ARGUMENT", "file"),
        (source(file="../globex/bindings.csv"), "NOT_FOUND", "has no file"),
        (source(file="/etc/passwd"), "NOT_FOUND", "has no file"),
        (source(file="globex/bindings.csv"), "NOT_FOUND", "has no file"),
        (source(file=".kept.json"), "NOT_FOUND", "has no file"),
        (source(revision="0" * 64), "NOT_FOUND", "is not kept"),
        (source(tenant="nowhere"), "NOT_FOUND", "no revision"),
    ],
)
def test_a_source_that_is_not_there_is_an_error(client: Client, request_: Any, code: str, text: str) -> None:
    with pytest.raises(DecisionUnavailable, match=text) as caught:
        client.ask(request_)
    assert code == caught.value.code


def test_rows_of_run_time_are_text_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'policy.db'}"
    with PolicyStore(url) as store:
        store.migrate()
        store.publish(Draft(tree_of(files()), "ci"), 0)
    with Server(tmp_path / "node", "--policy-store", url, policies=None) as server, server.client() as client:
        before = client.tenant("acme").get_source()
        granted = client.tenant("acme").change_bindings(
            [RuntimeBinding("user:zoe", "role:viewer", "a.**")], granter="user:alice"
        )
        row = client.tenant("acme", at_least=granted.position).explain("user:zoe", "VIEW", "FLOW", "a.x").chain[0]
        after = client.tenant("acme").get_source()
        assert (before.revision, True) == (after.files_revision, before.revision != after.revision)
        assert {"runtime"} == {each.path for each in after.files} - {each.path for each in before.files}
        assert [row.text] == [each.text for each in client.tenant("acme").get_source(row.file).lines]
        change = row.file.removeprefix("runtime:")
        assert [f"# {change}", row.text] == [each.text for each in client.tenant("acme").get_source("runtime").lines]
        # The revision before has its own text still.
        assert before == client.tenant("acme", revision=before.revision).get_source()


def test_the_wall_stands_around_sources(tmp_path: Path) -> None:
    """A reader of one tenant sees its files and those of the root, but for what those say of other tenants."""
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority", trustme.CA())

    def connect(name: str) -> Client:
        return Client(server.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed(name, name)))

    policy = {
        "vocabulary.yaml": VOCABULARY,
        "resources.yaml": SECRET,
        "acme/bindings.csv": b"p, user:ann, acme, **, FLOW, VIEW, allow\n",
        "globex/bindings.csv": b"p, user:gus, globex, **, FLOW, VIEW, allow\n",
        "_callers/bindings.csv": READERS,
    }
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    with Server(tmp_path / "audit", *flags, policies=write(tmp_path / "policies", policy)) as server:
        with connect("acme.example") as reader:
            found = {each.path: each for each in reader.tenant("acme").get_source().files}
            assert {"vocabulary.yaml", "resources.yaml", "acme/bindings.csv"} == found.keys()
            hidden = found["resources.yaml"]
            assert (True, 0, "") == (hidden.withheld, hidden.size_bytes, hidden.sha256)
            refusals = set()
            for tenant, file in (("acme", "resources.yaml"), ("globex", ""), ("nowhere", ""), ("_callers", "")):
                with pytest.raises(DecisionUnavailable) as caught:
                    reader.tenant(tenant).get_source(file)
                refusals.add((caught.value.code, str(caught.value).replace(tenant, "T")))
            assert {"PERMISSION_DENIED"} == {code for code, _ in refusals}
            assert 2 == len(refusals)
            with pytest.raises(DecisionUnavailable, match="has no file"):
                reader.tenant("acme").get_source("globex/bindings.csv")
            other = reader.tenant("acme").get_source().revision
        with connect("root.example") as root:
            assert SECRET.decode().splitlines() == [
                each.text for each in root.tenant("acme").get_source("resources.yaml").lines
            ]
            with pytest.raises(DecisionUnavailable) as caught:
                root.tenant("globex", revision=other).get_source()
            assert "NOT_FOUND" == caught.value.code
        with server.store() as store:
            reads = [json.loads(each.detail) for each in store.lifecycle(type_="POLICY_READ", tenant="acme")]
        assert {"service:dns/acme.example", "service:dns/root.example"} == {each["caller"] for each in reads}
        assert {"GetSource"} == {each["call"] for each in reads}
        assert "resources.yaml" in {each["asked"].get("file") for each in reads}


def test_the_command_source_prints_files_and_their_text(server: Server) -> None:
    text = (POLICIES / "acme" / "bindings.csv").read_text()
    printed = remit("source", "acme", "acme/bindings.csv", "--target", server.target)
    assert (0, text) == (printed.returncode, printed.stdout)
    part = remit("source", "acme", "acme/bindings.csv", "--from", "3", "--lines", "2", "--target", server.target)
    assert text.splitlines()[2:4] == part.stdout.splitlines()
    assert "acme/bindings.csv" in remit("source", "acme", "--target", server.target).stdout
    assert 1 == remit("source", "acme", "nothing.csv", "--target", server.target).returncode
