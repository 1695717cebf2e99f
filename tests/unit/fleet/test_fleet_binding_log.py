from pathlib import Path

import pytest

from remit.audit.chain.chain import Head
from remit.core.names import Tenant
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.fleet.binding_log import NO_BINDINGS, BindingLog, append
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey, apply
from remit.fleet.change import PolicyChange, genesis, linked

ACME = Tenant("acme")


def row(name: str, expires_us: int | None = None) -> RuntimeRow:
    return parse_runtime_row(f"user:{name}", "role:viewer", "a.**", expires_us)


def changes(*names: str, after: PolicyChange | None = None) -> list[PolicyChange]:
    found: list[PolicyChange] = []
    head = after.head if after is not None else genesis(ACME)
    for name in names:
        change = linked(head, ACME, 5, "BINDINGS", "ci", BindingChange((row(name),), (), reason=name).body)
        found.append(change)
        head = change.head
    return found


def granted(log: BindingLog, last: PolicyChange | None = None) -> tuple[list[str], bool]:
    new = log.read(last.head if last is not None else NO_BINDINGS)
    return [each.change.granted[0].member.removeprefix("user:") for each in new.changes], new.anew


def test_a_change_is_what_its_body_says() -> None:
    change = BindingChange(
        (row("ann", 5), row("bob")), (RowKey.of(row("cy")),), (RowKey.of(row("di")),), "user:g", "why"
    )

    assert change == BindingChange.parse(change.body)


def test_rows_follow_from_changes() -> None:
    rows: dict[RowKey, GrantedRow] = {}

    apply(rows, 1, BindingChange((row("ann"), row("bob")), ()))
    apply(rows, 2, BindingChange((row("ann", 9),), (RowKey.of(row("ann")),), (RowKey.of(row("bob")),)))

    assert {RowKey.of(row("ann")): GrantedRow(row("ann", 9), 2)} == rows


def test_each_change_is_read_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    log, first = BindingLog(path), changes("ann", "bob")
    (last,) = changes("cy", after=first[-1])
    assert ([], False) == granted(log)

    append(path, first, after=NO_BINDINGS)
    assert (["ann"], False) == granted(log, first[0])
    append(path, [last], after=first[-1].head)

    assert (["bob", "cy"], False) == granted(log, last)
    assert ([], False) == granted(log, last)
    assert (["ann", "bob", "cy"], False) == granted(BindingLog(path), last)


@pytest.mark.parametrize("torn", [b'[3, "ab', b"\0\0\0", b'[3,"00","{}"]'])
def test_a_line_that_a_crash_tore_is_written_over(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "acme.jsonl"
    first = changes("ann", "bob")
    append(path, first, after=NO_BINDINGS)
    with path.open("ab") as file:
        file.write(torn)
    log = BindingLog(path)
    assert (["ann", "bob"], False) == granted(log, first[-1])

    (last,) = changes("cy", after=first[-1])
    append(path, [last], after=first[-1].head)

    assert (["cy"], False) == granted(log, last)


def test_a_change_that_was_appended_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    first = changes("ann", "bob")
    (last,) = changes("cy", after=first[-1])
    append(path, first, after=NO_BINDINGS)
    append(path, [*first[1:], last], after=first[0].head)

    assert (["ann", "bob", "cy"], False) == granted(BindingLog(path), last)


def test_another_history_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    first, other = changes("ann", "bob"), changes("eve")
    append(path, first, after=NO_BINDINGS)
    log = BindingLog(path)
    granted(log, first[-1])

    append(path, other, after=None)
    assert (["eve"], True) == granted(log, other[-1])
    path.unlink()
    assert ([], True) == granted(log)
    assert ([], False) == granted(log)


@pytest.mark.parametrize("left", [0, 1])
def test_nothing_is_added_where_changes_were_lost(tmp_path: Path, left: int) -> None:
    path = tmp_path / "acme.jsonl"
    first = changes("ann", "bob")
    (last,) = changes("cy", after=first[-1])
    append(path, first[:left], after=NO_BINDINGS)
    before = path.read_bytes()

    with pytest.raises(ValueError, match="does not hold change 2"):
        append(path, [last], after=first[-1].head)
    assert before == path.read_bytes()
    path.unlink()
    with pytest.raises(ValueError, match="does not hold change 2"):
        append(path, [last], after=first[-1].head)
    append(path, [*first, last], after=None)

    assert (["ann", "bob", "cy"], False) == granted(BindingLog(path), last)
    with pytest.raises(ValueError, match="does not hold change 3"):
        BindingLog(path).read(Head(3, b"another history"))
