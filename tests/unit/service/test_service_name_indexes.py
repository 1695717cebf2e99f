"""The names of a policy: sorted once a revision beside the decisions, in turns of the tenants."""

import gc
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from typing import TypeVar
from weakref import ref

import pytest
from support.server import until
from support.trees import snapshot_of

from remit.engine.queries.names import NameCategory, NameIndex
from remit.engine.snapshot import Snapshot
from remit.policy.build.throttle import throttled
from remit.service import name_indexes
from remit.service.beside_decisions import WAITING
from remit.service.errors import StillComputingError, TooManyWaitingError
from remit.service.name_indexes import NameIndexes

DEADLINE_S = 60.0
_Item = TypeVar("_Item")


def policy(tenant: str, number: int = 0) -> Snapshot:
    files = {
        "vocabulary.yaml": b"kinds:\n  FLOW: {class: namespace, actions: [VIEW]}\n",
        f"{tenant}/roles.csv": f"p, role:r{number}, {tenant}, a.b.**, FLOW, VIEW, allow\n".encode(),
    }
    return snapshot_of(files, tenant)


@pytest.fixture
def indexes() -> Iterator[NameIndexes]:
    found = NameIndexes()
    found.begin()
    yield found
    found.stop()


class Held:
    """A pacing that pauses for as long as the test likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.began: list[None] = []
        self.may = Event()
        monkeypatch.setattr(name_indexes, "throttled", self)

    def __call__(self, items: Iterable[_Item], /) -> Iterator[_Item]:
        self.began.append(None)
        for item in items:
            assert self.may.wait(DEADLINE_S)
            yield item


def names(index: NameIndex) -> list[str]:
    return [each.name for each in index.page(NameCategory.ROLE, "", "", "", 10).names]


def test_names_are_sorted_with_pauses() -> None:
    """The pauses of a build beside a server that answers."""
    assert throttled is name_indexes.throttled


def test_a_revision_is_sorted_once(indexes: NameIndexes) -> None:
    first = policy("acme")

    index = indexes.of(first, DEADLINE_S)

    assert ["role:r0"] == names(index)
    assert index is indexes.of(policy("acme"), DEADLINE_S)
    assert ["role:r1"] == names(indexes.of(policy("acme", 1), DEADLINE_S))


def test_calls_at_once_share_a_sorting(indexes: NameIndexes, monkeypatch: pytest.MonkeyPatch) -> None:
    held, snapshot = Held(monkeypatch), policy("acme")
    with ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(indexes.of, snapshot, DEADLINE_S) for _ in range(4)]
        until(lambda: bool(held.began), "a sorting began")
        held.may.set()
        found = {id(call.result(DEADLINE_S)) for call in calls}
    assert 1 == len(found)


def test_a_caller_that_cannot_wait_gets_the_names_when_it_asks_again(
    indexes: NameIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, snapshot = Held(monkeypatch), policy("acme")
    with pytest.raises(StillComputingError, match=r"the names of `.{12}` are still being sorted: ask again"):
        indexes.of(snapshot, 0.01)
    held.may.set()
    assert ["role:r0"] == names(indexes.of(snapshot, DEADLINE_S))


def test_a_tenant_with_many_sortings_leaves_room_for_others(
    indexes: NameIndexes, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    many = [policy("acme", number) for number in range(WAITING + 1)]
    for each in many[:-1]:
        with pytest.raises(StillComputingError):
            indexes.of(each, 0.01)
    with pytest.raises(TooManyWaitingError):
        indexes.of(many[-1], DEADLINE_S)
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(indexes.of, policy("globex"), DEADLINE_S)
        held.may.set()
        assert ["role:r0"] == names(other.result(DEADLINE_S))


def test_what_was_sorted_keeps_no_policy(indexes: NameIndexes) -> None:
    snapshot = policy("acme")
    indexes.of(snapshot, DEADLINE_S)
    gone = ref(snapshot)
    del snapshot
    gc.collect()
    assert gone() is None


def test_a_stop_ends_a_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(items: Iterable[_Item], /) -> Iterator[_Item]:
        for item in items:
            while True:
                yield item

    monkeypatch.setattr(name_indexes, "throttled", endless)
    found, snapshot = NameIndexes(), policy("acme")
    found.begin()
    with pytest.raises(StillComputingError):
        found.of(snapshot, 0.01)
    stop = Thread(target=found.stop, daemon=True)
    stop.start()
    stop.join(DEADLINE_S)
    assert not stop.is_alive()
