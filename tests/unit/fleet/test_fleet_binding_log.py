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


def many(count: int, begin: int = 0) -> BindingChange:
    """More than a body holds as they are."""
    return BindingChange(tuple(row(f"n{number}") for number in range(begin, begin + count)), (), reason="many")


def test_a_change_of_many_rows_is_packed_and_says_the_same() -> None:
    change = many(2_000)._replace(revoked=(RowKey.of(row("cy")),), ended=(RowKey.of(row("di")),), granter="user:g")

    assert change == BindingChange.parse(change.body)
    assert len(change.body) < 20_000
    for damaged in (change.body.replace("eA", "AA", 1), change.body.replace('"packed":"', '"packed":"!')):
        with pytest.raises(ValueError, match=r"packed rows|base64|padding"):
            BindingChange.parse(damaged)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are written anew as if they were long."""
    monkeypatch.setattr("remit.fleet.binding_log._COMPACT_FROM", 2_000)


def changed(path: Path, after: PolicyChange | None, change: BindingChange) -> PolicyChange:
    head = after.head if after is not None else genesis(ACME)
    made = linked(head, ACME, 5, "BINDINGS", "ci", change.body)
    append(path, [made], after=after.head if after is not None else NO_BINDINGS)
    return made


def rows_in(log: BindingLog, last: PolicyChange, rows: dict[RowKey, GrantedRow]) -> bool:
    """Brings the rows to where the log brings them. Returns whether it was read anew."""
    new = log.read(last.head)
    if new.anew:
        rows.clear()
    rows.update((RowKey.of(each.row), each) for each in new.rows)
    for each in new.changes:
        apply(rows, each.seq, each.change)
    return new.anew


@pytest.mark.usefixtures("small")
def test_a_long_log_is_written_anew_with_the_rows_in_force_and_all_readers_follow(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    often, seldom = BindingLog(path), BindingLog(path)
    rows: dict[RowKey, GrantedRow] = {}
    of_often: dict[RowKey, GrantedRow] = {}
    of_seldom: dict[RowKey, GrantedRow] = {}
    anew = False
    sizes, last = [], None
    for number in range(200):
        name = f"n{number % 7}"
        granted = BindingChange((row(name),), (RowKey.of(row(name)),))
        last = changed(path, last, granted)
        apply(rows, last.seq, granted)
        anew |= rows_in(often, last, of_often)
        if number % 50 == 3:
            rows_in(seldom, last, of_seldom)
            assert rows == of_seldom
        assert rows == of_often
        sizes.append(path.stat().st_size)

    assert anew
    assert max(sizes) < 5_000
    fresh: dict[RowKey, GrantedRow] = {}
    assert last is not None
    rows_in(BindingLog(path), last, fresh)
    assert rows == fresh


@pytest.mark.usefixtures("small")
def test_a_log_that_is_written_anew_still_goes_as_far_as_the_change_before(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    last = changed(path, None, many(1_500))
    for number in range(40):
        before, last = last, changed(path, last, many(3, begin=number))
        rows: dict[RowKey, GrantedRow] = {}
        # A process that has not heard of the last change, or a start after a crash.
        rows_in(BindingLog(path), before, rows)
        assert 1_500 == len(rows)
    with pytest.raises(ValueError, match="does not hold change 1"):
        BindingLog(path).read(Head(1, b"long ago"))


@pytest.mark.usefixtures("small")
def test_a_new_node_keeps_the_rows_and_not_their_history(tmp_path: Path) -> None:
    path = tmp_path / "acme.jsonl"
    made: list[PolicyChange] = []
    head, rows = genesis(ACME), dict[RowKey, GrantedRow]()
    for number in range(300):
        change = BindingChange((row("ann", number + 1),), (RowKey.of(row("ann")),))
        made.append(linked(head, ACME, 5, "BINDINGS", "ci", change.body))
        head = made[-1].head
        apply(rows, made[-1].seq, change)

    append(path, made, after=None)

    assert path.stat().st_size < 500
    found: dict[RowKey, GrantedRow] = {}
    rows_in(BindingLog(path), made[-1], found)
    assert rows == found
