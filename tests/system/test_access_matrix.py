"""Tables of decisions from a real server over the example company."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.http_api import JSON, PROTO, HttpApi
from support.in_process import both_ways
from support.server import DEADLINE_S, POLICIES, Server, remit

from remit import wire
from remit.audit.record import DecisionRecord
from remit.client import Asked, AsyncClient, Client, DecisionUnavailable, NamespaceRows, PrincipalRows
from remit.client.questions import Asked as Question
from remit.v1 import search_service_pb2 as search

FINANCE = PrincipalRows("acme.finance", holding="group:finance")
Cell = tuple[str, str, str]


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with server.client() as shared:
        yield shared


def table(answer: search.ListMatrixResponse) -> dict[tuple[str, str, str], Cell]:
    """Cells by name, kind and action."""
    return {
        (row.name, column.kind, column.action): (
            wire.EFFECT_OF[cell.effect],
            wire.REASON_OF[cell.reason],
            cell.rule,
        )
        for row in answer.rows
        for column, cell in zip(answer.columns, row.cells, strict=True)
    }


def checked(client: Client, asked: list[Question]) -> list[tuple[str, str]]:
    answers = [
        each
        for part in range(0, len(asked), 100)
        for each in client.tenant("acme").batch_check(asked[part : part + 100])
    ]
    return [(each.effect, each.reason) for each in answers if not isinstance(each, DecisionUnavailable)]


def test_each_cell_is_what_check_and_explain_say(client: Client) -> None:
    found = table(client.tenant("acme").list_matrix(FINANCE, kinds=["FLOW", "SECRET"]))
    assert {"user:bob", "user:mei", "user:otto", "user:dan"} == {name for name, _, _ in found}
    asked = [Asked(name, action, kind, "acme.finance") for name, kind, action in found]
    assert checked(client, asked) == [(effect, reason) for effect, reason, _ in found.values()]
    for (name, kind, action), (_, _, rule) in list(found.items())[::7]:
        row = client.tenant("acme").explain(name, action, kind, "acme.finance").rule.row
        assert rule == (f"{row.file}:{row.line}" if row.file else "")
    assert {"ALLOWED_BY_RULE", "DENIED_BY_RULE"} < {reason for _, reason, _ in found.values()}


def test_rows_may_be_namespaces_of_one_principal(client: Client) -> None:
    answer = client.tenant("acme").list_matrix(NamespaceRows("user:bob", below="acme.finance"), kinds=["FLOW"])
    found = table(answer)
    assert {"acme.finance", "acme.finance.payroll"} <= {name for name, _, _ in found}
    assert all(name.startswith("acme.finance") for name, _, _ in found)
    asked = [Asked("user:bob", action, kind, name) for name, kind, action in found]
    assert checked(client, asked) == [(effect, reason) for effect, reason, _ in found.values()]
    given = client.tenant("acme").list_matrix(NamespaceRows("user:bob", ["acme.x", "acme.data"]), kinds=["FLOW"])
    assert ["acme.x", "acme.data"] == [row.name for row in given.rows]


def test_rows_may_be_given_or_everybody_whom_a_rule_concerns(client: Client) -> None:
    given = ["user:otto", "user:nobody"]
    answer = client.tenant("acme").list_matrix(PrincipalRows("acme.finance", given), kinds=["FLOW"], actions=["VIEW"])
    assert given == [row.name for row in answer.rows]
    assert {("user:nobody", "FLOW", "VIEW"): ("deny", "NO_BINDING", "")}.items() <= table(answer).items()
    everybody = client.tenant("acme").list_matrix(PrincipalRows("acme.finance"), kinds=["FLOW"], actions=["VIEW"])
    may = [each.principal for each in client.tenant("acme").list_principals("VIEW", "FLOW", "acme.finance")]
    assert may == [name for (name, _, _), (effect, _, _) in table(everybody).items() if effect == "allow"]
    itself = client.tenant("acme").list_matrix(PrincipalRows(), kinds=["USER"])
    assert "user:alice" in {row.name for row in itself.rows}


def test_columns_are_bounded_and_named(client: Client) -> None:
    answer = client.tenant("acme").list_matrix(FINANCE, kinds=["SECRET", "FLOW"], actions=["VIEW", "EXECUTE"])
    columns = [(each.kind, each.action) for each in answer.columns]
    assert columns == sorted(columns, key=lambda each: (each[0] == "FLOW", each[1]))
    assert {"SECRET", "FLOW"} == {kind for kind, _ in columns}


def test_more_than_sixty_columns_are_refused(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    (policies / "acme").mkdir(parents=True)
    actions = ", ".join(f"A{number}" for number in range(31))
    (policies / "vocabulary.yaml").write_text(
        f"kinds:\n  ONE: {{class: namespace, actions: [{actions}]}}\n  TWO: {{class: namespace, actions: [{actions}]}}\n"
    )
    (policies / "acme" / "bindings.csv").write_text("p, user:bob, acme, **, *, *, allow\n")
    with both_ways(tmp_path, policies) as (_, server, _), Client(f"127.0.0.1:{server.port}") as client:
        with pytest.raises(DecisionUnavailable, match="62 columns") as caught:
            client.tenant("acme").list_matrix(PrincipalRows("a"))
        assert ("INVALID_ARGUMENT", "kinds") == (caught.value.code, caught.value.violations[0].field)
        assert 31 == len(client.tenant("acme").list_matrix(PrincipalRows("a"), kinds=["ONE"]).columns)


def test_pages_put_together_are_the_whole_table_and_each_is_one_record(
    client: Client, since: Callable[[], list[DecisionRecord]]
) -> None:
    whole = client.tenant("acme").list_matrix(FINANCE, kinds=["FLOW"])
    pages = [client.tenant("acme").list_matrix(FINANCE, kinds=["FLOW"], page_size=3)]
    while token := pages[-1].next_page_token:
        pages.append(client.tenant("acme").list_matrix(FINANCE, kinds=["FLOW"], page_size=3, page_token=token))
    assert list(whole.rows) == [row for page in pages for row in page.rows]
    assert {whole.total} == {page.total for page in pages} == {len(whole.rows)}
    records = since()
    assert ["MATRIX"] * (len(pages) + 1) == [record.question for record in records]
    counted = [json.loads(record.detail) for record in records[1:]]
    assert [len(page.rows) for page in pages] == [each["rows"] for each in counted]
    allowed = sum(1 for effect, _, _ in table(whole).values() if effect == "allow")
    assert allowed == json.loads(records[0].detail)["allowed"] == sum(each["allowed"] for each in counted)
    assert not any("user:" in record.detail for record in records)


def test_a_page_token_belongs_to_its_table(client: Client) -> None:
    token = client.tenant("acme").list_matrix(FINANCE, kinds=["FLOW"], page_size=1).next_page_token
    with pytest.raises(DecisionUnavailable, match="another request"):
        client.tenant("acme").list_matrix(FINANCE, kinds=["SECRET"], page_size=1, page_token=token)


def test_the_answer_is_of_the_required_revision(client: Client) -> None:
    revision = client.tenant("acme").list_matrix(FINANCE, kinds=["FLOW"]).receipt.revision
    assert revision == client.tenant("acme", revision=revision).list_matrix(FINANCE, kinds=["FLOW"]).receipt.revision
    with pytest.raises(DecisionUnavailable) as caught:
        client.tenant("acme", revision="0" * 64).list_matrix(FINANCE, kinds=["FLOW"])
    assert caught.value.code == "FAILED_PRECONDITION"


def test_every_way_in_gives_the_same_table(untested: Path, tmp_path: Path) -> None:
    request = search.ListMatrixRequest(tenant="acme", kinds=["FLOW"])
    request.principals.namespace = "acme.finance"
    with both_ways(tmp_path, untested) as (_, server, web):
        with Client(f"127.0.0.1:{server.port}", timeout_s=DEADLINE_S) as client:
            over_grpc = table(client.ask(request))
            assert over_grpc == table(client.tenant("acme").list_matrix(PrincipalRows("acme.finance"), kinds=["FLOW"]))

        async def asked() -> search.ListMatrixResponse:
            async with AsyncClient(f"127.0.0.1:{server.port}", timeout_s=DEADLINE_S) as other:
                rows = PrincipalRows("acme.finance")
                return await other.tenant("acme").list_matrix(rows, kinds=["FLOW"])

        assert over_grpc == table(asyncio.run(asked()))
        for encoding in (PROTO, JSON):
            with HttpApi(web.port, encoding) as http:
                assert over_grpc == table(http.ask(request))
    assert over_grpc


def test_rows_that_are_no_rows_are_a_malformed_question(client: Client) -> None:
    with pytest.raises(DecisionUnavailable, match="PrincipalRows or NamespaceRows"):
        client.tenant("acme").list_matrix("user:bob")  # type: ignore[arg-type]
    with pytest.raises(DecisionUnavailable, match="list of names"):
        client.tenant("acme").list_matrix(PrincipalRows("acme.finance", "user:bob"))


def test_the_command_prints_words_in_a_table(server: Server) -> None:
    words = ("matrix", "acme", "acme.finance", "--kind", "FLOW", "--action", "VIEW", "--action", "UPDATE")
    for place in (("--policies", str(POLICIES)), ("--target", server.target)):
        of_group = remit(*words, "--who", "group:finance", *place)
        assert of_group.stdout.splitlines() == [
            "principal\tUPDATE\tVIEW",
            "user:bob\tallow\tallow",
            "user:dan\t\tallow",
            "user:mei\tallow\tallow",
            "user:otto\tDENY\tDENY",
        ]
        given = remit(*words, "--who", "user:dan", "--who", "user:bob", *place)
        assert given.stdout.splitlines()[1:] == ["user:dan\t\tallow", "user:bob\tallow\tallow"]
        kinds = remit(*words, "--kind", "SECRET", "--who", "user:bob", *place)
        assert kinds.stdout.splitlines()[0].split("\t")[1:3] == ["FLOW UPDATE", "FLOW VIEW"]
        named = remit(*words, "--of", "user:bob", *place)
        assert "acme.finance.ledger\tDENY\tallow" in named.stdout.splitlines()
        assert f"{len(named.stdout.splitlines()) - 1} rows" in named.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--who", "group:finance", "--who", "user:bob"), "name principals, or one group or role"),
        (("--who", "user:bob", "--of", "user:bob"), "name one"),
        (("--among", "-"), "--among needs --of"),
        (("--kind", "FLOWS"), "kinds[0]: `FLOWS`"),
        ((), "96 columns"),
    ],
)
def test_the_command_refuses_what_is_no_table(words: tuple[str, ...], text: str) -> None:
    done = remit("matrix", "acme", "acme.finance", *words, "--policies", str(POLICIES))
    assert (2, "") == (done.returncode, done.stdout)
    assert text in done.stderr


def test_the_command_takes_namespaces_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("acme.x\nacme.finance\n")
    words = ("--of", "user:bob", "--kind", "FLOW", "--action", "VIEW", "--among", str(file))
    done = remit("matrix", "acme", *words, "--policies", str(POLICIES))
    assert [line.partition("\t")[0] for line in done.stdout.splitlines()] == ["namespace", "acme.x", "acme.finance"]
    both = remit("matrix", "acme", "acme.finance", *words, "--policies", str(POLICIES))
    assert (2, True) == (both.returncode, "name one" in both.stderr)
