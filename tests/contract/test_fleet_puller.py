"""What a node says of itself while changes of rows come and are served."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest
from support.fleet import publish
from support.waiting import until

from remit.core.names import Tenant
from remit.core.runtime import parse_runtime_row
from remit.fleet.bindings import BindingChange
from remit.fleet.hints import LISTENING, POLLING
from remit.fleet.journal import ReleaseJournal
from remit.fleet.node_report import NodeReport
from remit.fleet.puller import Puller
from remit.fleet.store import PolicyStore
from remit.fleet.trust import Trust

ACME = Tenant("acme")


class CountingStore(PolicyStore):
    """Remembers the reports."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reports: list[NodeReport] = []

    def beat(self, report: NodeReport) -> bool:
        self.reports.append(report)
        return super().beat(report)


class Node:
    """Serves a change some time after it is on disk."""

    def __init__(self, url: str, folder: Path) -> None:
        self.store = CountingStore(url)
        self.journal = ReleaseJournal(folder)
        self.journal.begin()
        self.takes_s = 0.0
        self._seq, self._since = 0, 0.0
        self.puller = Puller(
            self.store, self.journal, node="one", version="0.1.0", trust=Trust(), poll_s=0.05, most_bytes=1 << 30
        )

    def behind(self) -> Sequence[str]:
        current = self.journal.current()
        seq = current.tenants[ACME].head.seq if current is not None else 0
        if seq != self._seq:
            self._seq, self._since = seq, monotonic()
        return (f"acme: {seq}",) if monotonic() - self._since < self.takes_s else ()

    @property
    def seq(self) -> int:
        current = self.journal.current()
        return current.tenants[ACME].head.seq if current is not None else 0


@pytest.fixture
def node(url: str, tmp_path: Path) -> Iterator[Node]:
    with PolicyStore(url) as store:
        store.migrate()
        publish(store.open(), 0, acme="")
    made = Node(url, tmp_path / "releases")
    made.puller.first()
    made.puller.begin(made.behind)
    # It tells that it listens once a notification has arrived.
    mode = LISTENING if url.startswith("postgresql") else POLLING
    until(lambda: [mode] == [each.mode for each in made.store.reports[-1:]])
    yield made
    made.puller.stop(10.0)
    made.store.close()


def grant(node: Node, number: int) -> None:
    with node.store.changing(ACME) as write:
        head = write.commit(BindingChange((parse_runtime_row(f"user:u{number}", "role:viewer"),), ()), "service:admin")
    until(lambda: node.seq == head.seq)


def test_rows_that_serve_at_once_are_no_news_to_others(node: Node) -> None:
    node.takes_s = 0.02
    before = len(node.store.reports)
    began = monotonic()
    for number in range(10):
        grant(node, number)
        sleep(0.05)
    # One in five seconds comes in any case.
    assert len(node.store.reports) - before <= 1 + (monotonic() - began) / 5
    assert not any(each.behind for each in node.store.reports)


def test_rows_that_do_not_serve_are_told_and_that_they_do(node: Node) -> None:
    node.takes_s = 2.0
    before = len(node.store.reports)
    grant(node, 1)
    until(lambda: any(each.behind for each in node.store.reports[before:]))
    until(lambda: not node.store.reports[-1].behind)


def test_a_node_that_is_behind_does_not_tell_of_each_change(node: Node) -> None:
    node.takes_s = 2.0
    grant(node, 0)
    until(lambda: node.store.reports[-1].behind != ())
    before, began = len(node.store.reports), monotonic()
    for number in range(1, 21):
        grant(node, number)
        sleep(0.05)
    # What stays the same for half a second is told.
    assert len(node.store.reports) - before <= 1 + (monotonic() - began) / 0.5
