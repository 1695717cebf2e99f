"""A new node that begins with a copy of another node's directory `releases`."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fleet import publish

from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey, apply
from remit.fleet.history import Known, Pulled
from remit.fleet.journal import ReleaseJournal
from remit.fleet.puller import Puller
from remit.fleet.store import PolicyStore
from remit.fleet.trust import Trust

ACME = Tenant("acme")
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "fleet.md"
OLDER = 20
"""Changes that the other node has."""


class WatchedStore(PolicyStore):
    """Remembers what was pulled."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.pulled: list[Pulled] = []

    def pull(self, known: Known, trust: Trust = Trust(), *, glance: bool = False) -> Pulled | None:  # noqa: B008 (it is immutable)
        found = super().pull(known, trust, glance=glance)
        if found is not None:
            self.pulled.append(found)
        return found


class Node:
    def __init__(self, url: str, folder: Path) -> None:
        self.store = WatchedStore(url)
        self.journal = ReleaseJournal(folder)
        self.journal.begin()
        try:
            Puller(
                self.store,
                self.journal,
                node=folder.name,
                version="0.1.0",
                trust=Trust(),
                poll_s=1.0,
                most_bytes=1 << 30,
            ).first()
        finally:
            self.journal.end()
            self.store.close()

    @property
    def numbers(self) -> list[int]:
        """The changes of rows that were read."""
        return [each.seq for pulled in self.store.pulled for each in pulled.bindings[ACME].changes]

    def rows(self) -> dict[RowKey, GrantedRow]:
        current = self.journal.current()
        assert current is not None
        found = self.journal.binding_log(ACME).read(current.tenants[ACME].bindings)
        rows = {RowKey.of(each.row): each for each in found.rows}
        for each in found.changes:
            apply(rows, each.seq, each.change)
        return rows


@pytest.fixture
def store(url: str) -> Iterator[PolicyStore]:
    with PolicyStore(url) as opened:
        opened.migrate()
        publish(opened.open(), 0, acme="")
        for number in range(OLDER):
            grant(opened, number)
        yield opened


def grant(store: PolicyStore, number: int) -> int:
    """Grants a row, and takes back the one before it."""
    row, before = (parse_runtime_row(f"user:u{each}", "role:viewer") for each in (number, number - 1))
    with store.changing(ACME) as write:
        return write.commit(BindingChange((row,), (RowKey.of(before),) if number else ()), "service:admin").seq


def copied(source: Path, target: Path) -> Path:
    """As docs/how-to/fleet.md says."""
    excluded = re.findall(r"--exclude '?([^\s']+)", PAGE.read_text())
    assert "instance" in excluded
    return Path(shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*excluded)))


def rows_of(store: PolicyStore) -> dict[RowKey, GrantedRow]:
    _, rows = store.bindings(ACME)
    return {RowKey.of(each.row): each for each in rows}


def test_a_new_node_reads_the_whole_history(url: str, store: PolicyStore, tmp_path: Path) -> None:
    node = Node(url, tmp_path / "one")
    assert [*range(2, OLDER + 2)] == node.numbers
    assert rows_of(store) == node.rows()


def test_a_node_with_a_copy_reads_only_what_is_newer(url: str, store: PolicyStore, tmp_path: Path) -> None:
    first = Node(url, tmp_path / "one")
    # Each process of the node has a pipe there, which no program can copy.
    os.mkfifo(tmp_path / "one" / "news-0")
    newer = grant(store, OLDER)

    node = Node(url, copied(tmp_path / "one", tmp_path / "two"))

    assert [newer] == node.numbers
    assert rows_of(store) == node.rows()
    assert first.journal.instance != node.journal.instance


@pytest.mark.parametrize("older", ["bindings", "releases"])
def test_a_copy_that_was_made_while_the_other_node_wrote_ends_with_all_rows(
    url: str, store: PolicyStore, tmp_path: Path, older: str
) -> None:
    """A part of it is older than the rest."""
    Node(url, tmp_path / "one")
    before = copied(tmp_path / "one", tmp_path / "before")
    grant(store, OLDER)
    Node(url, tmp_path / "one")
    torn = copied(tmp_path / "one", tmp_path / "torn")
    shutil.rmtree(torn / older)
    shutil.copytree(before / older, torn / older)
    newer = grant(store, OLDER + 1)

    node = Node(url, torn)

    # Rows that are older than the release are lost rows: everything is read again.
    assert [*range(2 if older == "bindings" else newer - 1, newer + 1)] == node.numbers
    assert rows_of(store) == node.rows()


def test_a_copy_of_another_history_is_read_anew(url: str, store: PolicyStore, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    with PolicyStore(other) as others:
        others.migrate()
        publish(others.open(), 0, acme="")
        grant(others, 100)
    Node(other, tmp_path / "one")

    node = Node(url, copied(tmp_path / "one", tmp_path / "two"))

    assert [True] == [bool(each.fork) for each in node.store.pulled]
    assert rows_of(store) == node.rows()
