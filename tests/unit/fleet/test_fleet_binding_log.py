from pathlib import Path

import pytest

from remit.core.names import Tenant
from remit.core.runtime import RuntimeRow, parse_runtime_row
from remit.fleet.binding_log import BindingLog, append
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


def granted(log: BindingLog, upto: int = 99) -> tuple[list[str], bool]:
    new = log.read(upto)
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
    assert ([], False) == granted(log)

    append(path, first, anew=False)
    assert (["ann"], False) == granted(log, upto=1)
    append(path, changes("cy", after=first[-1]), anew=False)

    assert (["bob", "cy"], False) == granted(log)
    assert ([], False) == granted(log)
    assert (["ann", "bob", "cy"], False) == granted(BindingLog(path))


@pytest.mark.parametrize("torn", [b'[3, "ab', b"\0\0\0", b'[3,"00","{}"]'])
def test_a_line_that_a_crash_tore_is_written_over(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "acme.jsonl"
    first = changes("ann", "bob")
    append(path, first, anew=False)
    with path.open("ab") as file:
        file.write(torn)
    log = BindingLog(path)
    assert (["ann", "bob"], False) == granted(log)

    append(path, changes("cy", after=first[-1]), anew=False)

    assert (["cy"], False) == granted(log)


def test_a_change_that_was_appended_twice_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    first = changes("ann", "bob")
    append(path, first, anew=False)
    append(path, [*first[1:], *changes("cy", after=first[-1])], anew=False)

    assert (["ann", "bob", "cy"], False) == granted(BindingLog(path))


def test_another_history_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    append(path, changes("ann", "bob"), anew=False)
    log = BindingLog(path)
    granted(log)

    append(path, changes("eve"), anew=True)
    assert (["eve"], True) == granted(log)
    path.unlink()
    assert ([], True) == granted(log)
    assert ([], False) == granted(log)
