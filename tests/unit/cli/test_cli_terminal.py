"""What others wrote is printed literally: no name, caller or detail is markup of a terminal, of Markdown, SVG or DOT."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pydot
import pytest
from markdown_it import MarkdownIt
from rich.console import RenderableType
from support.terminals import FakeTerminal
from typer.testing import CliRunner, Result

import remit.cli
from remit import wire
from remit.audit.ids import DecisionIds, format_id
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.store.store import AuditStore
from remit.cli.ask import operation, reach, resolve
from remit.cli.ask.graph_tree import rich_tree
from remit.cli.common import output
from remit.cli.main import app
from remit.cli.policy import diff_text
from remit.cli.server import status
from remit.cli.server.replay import print_changes
from remit.core.decision import Reason
from remit.core.rows import Effect
from remit.drawing.graph_dot import read_dot, write_dot
from remit.drawing.graph_svg import write_svg
from remit.drawing.graph_tree import trees
from remit.service.shadow.replay import ReplayedChange
from remit.v1 import (
    access_service_pb2,
    reach_service_pb2,
    resource_service_pb2,
    status_service_pb2,
    visibility_service_pb2,
)

NASTY = ("[/x]", "[link=http://evil.example]x[/link]", "[red]x", "\\[x]", ":bomb:", "a\x1b]8;;http://evil.example\x07b")
SHOWN = {name: output.printable(name) for name in NASTY}


def printed(show: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> str:
    """What `show` prints, on a terminal of its own."""
    terminal = FakeTerminal(2_000, "truecolor")
    for module in (output, operation, reach, resolve, status):
        monkeypatch.setattr(module, "out", terminal, raising=False)
    found = show()
    if found is not None:
        terminal.print(found)
    return terminal.shown.getvalue()


def status_of(name: str) -> None:
    status._print(
        status_service_pb2.GetStatusResponse(
            node=name,
            version=name,
            tenants=[
                status_service_pb2.TenantStatus(
                    tenant=name,
                    state=status_service_pb2.TENANT_STATE_STALE,
                    pinned_by=name,
                    diagnostics=[status_service_pb2.Diagnostic(file=name, line=1, message=name)],
                    hidden_diagnostics=1,
                )
            ],
            audit=status_service_pb2.AuditStatus(error=name, spool=status_service_pb2.SpoolStatus(error=name)),
            workers=[status_service_pb2.WorkerStatus(node=name, error=name, serving=True)],
        )
    )


def changes_of(name: str) -> None:
    change = ReplayedChange(name, name, name, name, name, (name, name), (name, name), name, 1, bytes(16))
    print_changes([change])


def resolved(name: str) -> None:
    found = resource_service_pb2.ResolveDedicatedResponse()
    found.resources.add(
        name=name, type=name, fallback=name, level_namespace=name, denied_services=[name], service=wire.EFFECTS["deny"]
    )
    resolve._print_resolved(found)


def served(name: str) -> None:
    resolve._print_served(resource_service_pb2.ListServedResponse(tenants=[name]))


def operated(name: str) -> None:
    found = access_service_pb2.CheckOperationResponse()
    found.parts.add(action=name, kind=name, namespace=name).decision.effect = wire.EFFECTS["allow"]
    operation._print_parts(found)


def columns(name: str) -> None:
    answer = reach_service_pb2.ListReachableResponse()
    answer.relations.add(relation=name, uses_among=[name])
    reach._print_relations(answer)
    refused = reach_service_pb2.CheckReachAllResponse()
    refused.refused.add(owner=name, reason=wire.REASONS[Reason.DENIED_BY_RULE])
    reach._print_refused(refused)


def graph_of(name: str) -> visibility_service_pb2.VisibleGraphResponse:
    found = visibility_service_pb2.VisibleGraphResponse()
    found.nodes.add(uid="a", kind=name, namespace=name, id=name)
    found.nodes.add(uid=name)
    found.edges.add(reach=wire.EFFECTS[Effect.DENY], reason=wire.REASONS[Reason.DENIED_BY_RULE]).edge.MergeFrom(
        visibility_service_pb2.GraphEdge(source="a", target=name, relation=name)
    )
    return found


def drawn(name: str) -> RenderableType:
    (tree,) = trees(graph_of(name))
    return rich_tree(tree)


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize(
    ("show", "times"),
    [(status_of, 9), (changes_of, 9), (resolved, 5), (served, 1), (operated, 3), (columns, 2), (drawn, 5)],
)
def test_names_are_printed_literally(
    show: Callable[[str], object], times: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = printed(lambda: show(name), monkeypatch)
    # Colours and styles are ours.
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    assert times <= plain.count(SHOWN[name])
    assert not set("\x1b\x07") & set(plain)


@pytest.mark.parametrize("name", NASTY)
def test_messages_are_printed_literally(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.out.print(name)
    output.err.print(f"<{name}>", style="red")
    assert (f"{SHOWN[name]}\n", f"<{SHOWN[name]}>\n") == capsys.readouterr()


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditStore]:
    with AuditStore(f"sqlite:///{tmp_path / 'audit.db'}") as store:
        store.migrate()
        yield store


def run(*words: str) -> Result:
    done = CliRunner().invoke(app, words, terminal_width=400)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


@pytest.mark.parametrize("name", NASTY)
def test_records_are_printed_literally(audit: AuditStore, name: str) -> None:
    told = {
        "node": name, "caller": name, "on_behalf_of": name, "tenant": "acme", "namespace": "acme.finance",
        "principal": name, "action": name, "kind": name, "resource_id": name, "effect": "allow",
        "reason": name, "rule": name, "revision": "0" * 64,
    }  # fmt: skip
    ids = DecisionIds()
    decision_id, call_id, happened = ids.take(3)
    detail = json.dumps({"diagnostics": [name]})
    audit.append(
        [DecisionRecord(decision_id, 1, *told.values(), 1, call_id, -1, "")],
        [LifecycleRecord(happened, 1, name, "POLICY_REFUSED", name, "0" * 64, detail)],
    )
    source = ("--audit", audit.url)
    for command, times in (
        (("list",), 4),
        (("count", "--by", "caller"), 1),
        (("count", "--by", "node", "--by", "principal"), 2),
        (("show", format_id(decision_id)), 7),
        (("follow", "--since", "1970-01-01", "--limit", "1"), 4),
    ):
        done = run("audit", *command, *source)
        assert (0, True) == (done.exit_code, done.stdout.count(SHOWN[name]) >= times), done.output
        assert not set("\x1b\x07") & set(done.output)
    done = run("audit", "list", "--lifecycle", *source)
    assert 0 == done.exit_code
    assert 2 <= done.stdout.count(SHOWN[name])
    assert detail in done.stdout


def test_no_command_reads_markup_or_opens_a_terminal() -> None:
    for file in Path(remit.cli.__file__).parent.rglob("*.py"):
        text = file.read_text()
        assert "rich.markup" not in text, file
        assert "from_markup" not in text, file
        assert file.name == "exits.py" or "Console(" not in text, file


@pytest.mark.parametrize(
    "name", ["user:a``<details>", "`", "``", "a`", "`a", "user:`b```c``", "<details>", "*a*", "[x](http://e)", "a|b"]
)
def test_code_span_of_markdown_holds_the_name_and_nothing_else(name: str) -> None:
    (paragraph,) = (
        each
        for each in MarkdownIt("gfm-like", {"linkify": False}).parse(f"- {diff_text.code(name)} gains")
        if each.type == "inline"
    )
    span, rest = paragraph.children or []
    assert ("code_inline", name) == (span.type, span.content)
    assert " gains" == rest.content


@pytest.mark.parametrize("name", [*NASTY, '<script>alert("x")</script>', 'a" onload="x', "]]>&amp;", 'a";b->c;"'])
def test_drawings_hold_names_as_text(name: str) -> None:
    picture = ET.fromstring(write_svg(graph_of(name)))
    assert {"svg", "style", "defs", "marker", "path", "g", "rect", "text", "title"} == {
        each.tag.rpartition("}")[2] for each in picture.iter()
    }
    texts = [each.text or "" for each in picture.iter() if each.tag.endswith("}text")]
    shown = output.printable(name)
    assert 3 <= sum(shown in each for each in texts)
    dot = write_dot(graph_of(name))
    (graph,) = pydot.graph_from_dot_data(dot)
    assert (2, 1) == (len(graph.get_nodes()), len(graph.get_edges()))
    request = read_dot(dot)
    assert {"a", name} == {each.uid for each in request.nodes}
