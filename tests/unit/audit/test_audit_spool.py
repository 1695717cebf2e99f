"""The file in which records wait for their store."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from support.audit_records import decision, happened

from remit.audit.errors import AuditStoreError, RecordRefused
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.audit.spool.entry_codec import SpoolEntry
from remit.audit.spool.spool import Spool

MIB = 1 << 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "spool.db"


@pytest.fixture
def spool(path: Path) -> Iterator[Spool]:
    opened = Spool(path, max_bytes=MIB).open()
    yield opened
    opened.close()


@pytest.fixture
def again(spool: Spool) -> Iterator[Callable[[], Spool]]:
    """Opens the same file again."""
    opened = [spool]

    def reopened() -> Spool:
        opened[-1].close()
        opened.append(Spool(spool.path, max_bytes=MIB).open())
        return opened[-1]

    yield reopened
    opened[-1].close()


def waiting(spool: Spool) -> tuple[list[DecisionRecord], list[LifecycleRecord], list[DecisionRecord]]:
    found = [entry.waiting for entry in spool.first(1 << 20)]
    return (
        [record for each in found for record in each.decided],
        [record for each in found for record in each.happened],
        [record for each in found for record in each.unrecorded],
    )


def test_spool_returns_records_in_order_until_they_are_dropped(spool: Spool, again: Callable[[], Spool]) -> None:
    """Every field unchanged, also after a restart, and with different values in every field."""
    fields = {name: f"ü of {name}\t\\u0000" for name, kind in DecisionRecord.__annotations__.items() if kind is str}
    odd = decision(**fields, time_us=2**62, latency_ns=-(2**63), batch_index=49_999, call_id=bytes(range(16)))
    decided = [odd, *(decision() for _ in range(300))]
    counted = decision()
    spool.put(decided, [event := happened()], [counted])
    spool.put([later := decision()])
    assert 304 == spool.records
    spool = again()
    assert 304 == spool.records
    assert ([*decided, later], [event], [counted]) == waiting(spool)
    first = spool.first(200)
    assert 200 <= sum(entry.waiting.records for entry in first) < 304
    spool.drop(first)
    left = [*decided, later][sum(len(entry.waiting.decided) for entry in first) :]
    for _ in range(2):
        assert (left, [], []) == waiting(spool)
        assert (len(left), True) == (spool.records, spool.size > 0)
        spool = again()
    spool.drop(spool.first(1 << 20))
    assert (0, 0, []) == (spool.records, spool.size, spool.first(1))
    spool.close()


def test_empty_put_leaves_the_spool_empty(spool: Spool) -> None:
    spool.put([])
    assert [] == spool.first(1)


def test_every_commit_is_durable(spool: Spool) -> None:
    modes = [spool._cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert ["wal", 2] == modes


def test_spool_file_is_readable_by_its_owner_only(path: Path) -> None:
    before = os.umask(0)
    try:
        Spool(path, max_bytes=MIB).open().close()
    finally:
        os.umask(before)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_two_processes_do_not_share_a_spool(spool: Spool, path: Path) -> None:
    code = f"from pathlib import Path; from remit.audit.spool.spool import Spool; Spool(Path({str(path)!r}), max_bytes=1<<20).open()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "another process has it open" in done.stderr
    spool.put([record := decision()])
    assert [record] == waiting(spool)[0]


@pytest.mark.parametrize("content", ["text", "another database"])
def test_file_that_is_no_spool_is_refused(path: Path, content: str) -> None:
    path.parent.mkdir()
    if content == "text":
        path.write_text("no database, and long enough to be looked at as one" * 20)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE decisions (id)")
    before = path.read_bytes()
    with pytest.raises(AuditStoreError, match=r"expected a spool|not a database"):
        Spool(path, max_bytes=MIB).open()
    assert content == "another database" or before == path.read_bytes()


DAMAGES = {
    "altered": "UPDATE waiting SET content = CAST(replace(content, 'allow', 'deny') AS BLOB) WHERE position = 2",
    "removed": "DELETE FROM waiting WHERE position = 2",
    "first removed": "DELETE FROM waiting WHERE position = 1",
    "last removed": "DELETE FROM waiting WHERE position = 3",
    "exchanged": "UPDATE waiting SET content = (SELECT content FROM waiting WHERE position = 3) WHERE position = 2",
    "given again": "UPDATE ends SET position = 0, hash = x'' WHERE name = 'gone'; DELETE FROM waiting WHERE position < 3",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_spool_is_noticed_and_takes_no_record(spool: Spool, path: Path, damage: str) -> None:
    for _ in range(3):
        spool.put([decision()])
    spool.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DAMAGES[damage])

    def use() -> None:
        opened = Spool(path, max_bytes=MIB).open()
        try:
            with pytest.raises(AuditStoreError, match="damaged"):
                opened.first(3)
            opened.put([decision()])
        finally:
            opened.close()

    with pytest.raises(AuditStoreError, match="damaged"):
        use()


def test_full_spool_takes_nothing_until_records_are_dropped(spool: Spool, path: Path) -> None:
    kept: list[DecisionRecord] = []

    def fill() -> None:
        while True:
            batch = [decision() for _ in range(50)]
            spool.put(batch)
            kept.extend(batch)

    with pytest.raises(AuditStoreError, match="full"):
        fill()
    with pytest.raises(AuditStoreError, match="full"):
        spool.probe()
    assert kept == waiting(spool)[0]
    assert len(kept) == spool.records > 500
    assert path.stat().st_size <= MIB
    spool.drop(spool.first(500))
    spool.probe()
    spool.put([record := decision()])
    assert record == waiting(spool)[0][-1]


@pytest.mark.parametrize(
    ("decided", "lifecycle"),
    [
        ([decision(resource_id="a\nb")], []),
        ([decision(resource_id="a\0b")], []),
        ([decision(resource_id="\ud800")], []),
        ([decision(latency_ns=1 << 63)], []),
        ([], [happened(detail="\n")]),
    ],
    ids=["line break", "NUL", "surrogate", "too large", "lifecycle"],
)
def test_spool_refuses_records_that_the_store_would_refuse(
    spool: Spool, decided: Sequence[DecisionRecord], lifecycle: Sequence[LifecycleRecord]
) -> None:
    with pytest.raises(RecordRefused):
        spool.put([decision(), *decided], lifecycle)
    assert [] == spool.first(1)
    spool.put([record := decision()])
    assert [record] == waiting(spool)[0]


def test_records_of_a_remit_with_fewer_fields_are_read() -> None:
    record = decision(question="REACH", detail="x")
    content = SpoolEntry([record], (), ()).written()
    older = content.replace(b',"question","detail"', b"").replace(b',"REACH","x"', b"")
    assert len(older) < len(content)
    assert [record._replace(question="CHECK", detail="")] == SpoolEntry.read(older).decided


@pytest.mark.parametrize("act", ["delete", "rename", "replace", "delete the log"])
def test_spool_without_its_file_takes_no_record(spool: Spool, path: Path, act: str) -> None:
    """Even if a file is put back. Its records can still be drained."""
    spool.put([record := decision()])
    other, log = path.with_name("other.db"), path.with_name("spool.db-wal")
    if act == "delete":
        path.unlink()
    elif act == "rename":
        path.rename(other)
    elif act == "replace":
        other.touch()
        other.replace(path)
    else:
        log.unlink()
    for _ in range(2):
        with pytest.raises(AuditStoreError, match=r"the audit spool `.*` is no longer the file that process"):
            spool.put([decision()])
    assert record in waiting(spool)[0]
    if act == "rename":
        other.rename(path)
    for step in (spool.check, spool.probe):
        with pytest.raises(AuditStoreError, match="is no longer the file"):
            step()
