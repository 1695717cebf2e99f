"""Tables of commands: each value stands whole in the output, on a terminal of any width and in a pipe."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text
from rich.tree import Tree
from support.terminals import FakeTerminal

import remit.cli
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.cli.ask import operation, reach, resolve
from remit.cli.audit.format_records import print_decisions, print_lifecycle
from remit.cli.common import output
from remit.cli.common.table import Cell, Whole, print_table
from remit.cli.server.replay import print_changes
from remit.service.shadow.replay import ReplayedChange
from remit.v1 import access_service_pb2, decision_pb2, reach_service_pb2, resource_service_pb2

LONG = "a-namespace-with-a-long-name.and-one-more.".ljust(240, "x")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z", "M"]), max_size=120)
VALUES = WORDS | st.sampled_from([LONG, "acme.finance.payroll.eu", "p, role:admin, *, **, *, *, allow", "a\tb", "a\nb"])
CELLS: st.SearchStrategy[Cell] = VALUES | st.lists(VALUES, min_size=1, max_size=3) | WORDS.map(output.styled)
NAMES = st.lists(st.sampled_from(["time", "read only", "id", "caller", "rule"]), min_size=1, max_size=5, unique=True)
WIDTHS = st.integers(40, 200)
Rows = list[list[Cell]]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], Rows]:
    names = draw(NAMES)
    return names, draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))


@contextmanager
def terminal_of(width: int) -> Iterator[StringIO]:
    """In the place of standard output."""
    with pytest.MonkeyPatch.context() as patch:
        terminal = FakeTerminal(width)
        patch.setattr(output, "out", terminal)
        yield terminal.shown


def values(rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Each value as it is shown: what could move the cursor is escaped."""
    cells = [[str(cell)] if isinstance(cell, str | Text) else cell for row in rows for cell in row]
    return [escaped(value) for cell in cells for value in cell]


def escaped(value: str) -> str:
    return output.printable(value).replace("\t", "\\u0009").replace("\n", "\\u000a")


@given(tables(), WIDTHS)
def test_terminal_of_any_width_shows_each_value_whole(table: tuple[list[str], Rows], width: int) -> None:
    names, rows = table
    with terminal_of(width) as shown:
        print_table(names, rows)

    lines = shown.getvalue().splitlines()
    assert [] == [value for value in values(rows) if not any(value in line for line in lines)]
    has_border = any({*line.strip()} == {"─"} for line in lines)
    assert not has_border or max(Text(line).cell_len for line in lines) <= width


@given(table=tables(), columns=st.sampled_from(["", "40", "200"]))
def test_pipe_has_a_line_of_tab_separated_fields_for_each_record(table: tuple[list[str], Rows], columns: str) -> None:
    names, rows = table
    with pytest.MonkeyPatch.context() as patch, StringIO() as shown:
        patch.setenv("COLUMNS", columns)
        patch.setattr("sys.stdout", shown)
        print_table(names, rows)
        lines = shown.getvalue().split("\n")

    assert [*names] == lines[0].split("\t")
    joined = [
        [cell if isinstance(cell, str) else str(cell) if isinstance(cell, Text) else "\0".join(cell) for cell in row]
        for row in rows
    ]
    expected = [[escaped(cell.replace("\0", "; ")) for cell in row] for row in joined]
    assert [*expected, [""]] == [line.split("\t") for line in lines[1:]]


def decisions(name: str) -> None:
    told = [name if field not in {"time_us", "latency_ns", "batch_index"} else 1 for field in DecisionRecord._fields]
    print_decisions([DecisionRecord(*told)._replace(id=bytes(16), call_id=bytes(16), question="CHECK", detail="")])


def lifecycle(name: str) -> None:
    print_lifecycle([LifecycleRecord(bytes(16), 1, name, name, name, "0" * 64, name)])


def resolved(name: str) -> None:
    found = resource_service_pb2.ResolveDedicatedResponse()
    found.resources.add(name=name, type=name, fallback=name, level_namespace=name, denied_services=[name])
    resolve._print_resolved(found)


def changes(name: str) -> None:
    print_changes([ReplayedChange(name, name, name, name, name, (name, name), (name, name), name, 1, bytes(16))])


def parts(name: str) -> None:
    found = access_service_pb2.CheckOperationResponse()
    found.parts.add(action=name, kind=name, namespace=name)
    operation._print_parts(found)


def reachable(name: str) -> None:
    found = reach_service_pb2.ListReachableResponse()
    found.relations.add(relation=name, uses=[decision_pb2.NamespaceSet(only=["**"])])
    reach._print_everywhere(found, name)


@pytest.mark.parametrize("show", [decisions, lifecycle, resolved, changes, parts, reachable])
@pytest.mark.parametrize("width", [40, 80, 132, 200])
def test_tables_of_commands_cut_no_name(show: Callable[[str], None], width: int) -> None:
    with terminal_of(width) as shown:
        show(LONG)

    assert LONG in shown.getvalue()
    assert "…" not in shown.getvalue()
    assert 0 == shown.getvalue().replace(LONG, "").count("xxxx")


def test_every_table_is_printed_by_the_one_function() -> None:
    for file in Path(remit.cli.__file__).parent.rglob("*.py"):
        assert file.name == "table.py" or "rich.table" not in file.read_text(), file


@pytest.mark.parametrize("width", [40, 80])
def test_tree_is_not_cut_where_the_terminal_ends(width: int) -> None:
    tree = Tree(LONG)
    tree.add(LONG).add(LONG)
    with terminal_of(width) as shown:
        output.out.print(Whole(tree))

    assert [LONG, f"└── {LONG}", f"    └── {LONG}"] == shown.getvalue().splitlines()
