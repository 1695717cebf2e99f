"""Calls that require a revision or a position, and the live policies that change while they wait."""

from collections.abc import Callable
from threading import Thread
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trees import snapshot_of
from tools.faults.promise import until

from remit.core.names import Tenant
from remit.core.position import Position
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies, Requirement, RevisionNotCurrentError, TenantPolicy, TenantState

ACME: Final = Tenant("acme")
WAIT_S: Final = 0.05
LONG_S: Final = 30.0
SNAPSHOTS: Final = tuple(
    snapshot_of({"vocabulary.yaml": b"kinds: {}\n", "acme/bindings.csv": b"# %d\n" % number}, "acme")
    for number in range(4)
)
A, B, C, D = SNAPSHOTS


def position(seq: int, digest: str = "0", tenant: str = "acme") -> Position:
    return Position(Tenant(tenant), seq, digest * 16)


def required(at_least: Position | None = None, revision: str = "") -> Requirement:
    return Requirement(revision, at_least)


class Live(LivePolicies):
    """Live policies of a node with a policy store that has no news."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.wanted = self._ask

    def _ask(self) -> None:
        self.asked += 1

    def serve(self, *snapshots: Snapshot) -> "Live":
        for snapshot in snapshots:
            self.put(TenantPolicy(ACME, TenantState.SERVING, 0, snapshot))
        return self


class Caller:
    """A call that waits in a thread."""

    def __init__(self, live: LivePolicies, requirement: Requirement) -> None:
        self._found: Snapshot | Exception | None = None
        self._call: Callable[[], Snapshot] = lambda: live.snapshot_at(ACME, requirement, LONG_S)
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._call()
        except RevisionNotCurrentError as error:
            self._found = error

    def found(self) -> Snapshot | Exception | None:
        self._thread.join(LONG_S / 2)
        return self._found


def refused(live: LivePolicies, requirement: Requirement, wait_s: float = LONG_S) -> str:
    with pytest.raises(RevisionNotCurrentError) as caught:
        live.snapshot_at(ACME, requirement, wait_s)
    return str(caught.value)


@pytest.mark.parametrize("seq", [2, 3])
def test_a_policy_at_the_required_position_or_later_answers_at_once(seq: int) -> None:
    live = Live().serve(serving := A.at(position(seq)))
    assert live.snapshot_at(ACME, required(position(2)), 0.0) is serving
    assert live.asked == 0


def test_an_older_position_waits_for_the_bounded_time_and_names_what_serves() -> None:
    live = Live().serve(A.at(position(1)))
    assert refused(live, required(position(2)), WAIT_S) == (
        f"position `{position(2)}` of tenant `acme` did not become current within {WAIT_S:g} s: "
        f"it is `{A.revision}` at position `{position(1)}`"
    )


def test_a_policy_without_a_position_has_reached_none() -> None:
    """A pinned one, for example."""
    assert refused(Live().serve(A), required(position(1)), WAIT_S).endswith(f"it is `{A.revision}` without a position")


def test_a_tenant_that_is_not_there_yet_is_waited_for() -> None:
    live = Live()
    assert refused(live, required(position(1)), WAIT_S).endswith("it has none")
    caller = Caller(live, required(position(1)))
    live.serve(serving := A.at(position(1)))
    assert caller.found() is serving


def test_a_call_that_must_wait_asks_the_policy_store_once() -> None:
    live = Live().serve(A.at(position(1)))
    live.wanted = lambda: live.serve(B.at(position(2))) and None
    found = live.snapshot_at(ACME, required(position(2)), LONG_S)
    assert (found.revision, found.position) == (B.revision, position(2))


def test_the_same_number_in_another_history_is_refused_at_once() -> None:
    live = Live().serve(A.at(position(2, "b")))
    assert refused(live, required(position(2, "a"))) == (
        f"position `{position(2, 'a')}` is of another history than the one that serves, which is at "
        f"`{position(2, 'b')}`: the policy store was replaced or lost its last changes"
    )


def test_a_call_that_waits_is_refused_when_another_history_reaches_its_number() -> None:
    live = Live().serve(A.at(position(1)))
    caller = Caller(live, required(position(2, "a")))
    until(lambda: live.asked == 1, "the call waits")
    live.serve(B.at(position(2, "b")))
    assert "another history" in str(caller.found())


def test_a_lower_number_of_another_history_is_refused_at_once() -> None:
    live = Live().serve(A.at(position(3, "a")))
    live.passed = {ACME: {seq: position(seq, "a") for seq in (2, 3)}}
    assert live.snapshot_at(ACME, required(position(2, "a")), WAIT_S).position == position(3, "a")
    assert "is of another history" in refused(live, required(position(2, "b")), LONG_S)
    # It is too old to tell.
    assert live.snapshot_at(ACME, required(position(1, "b")), WAIT_S).position == position(3, "a")


def test_what_is_known_of_another_history_is_told_whatever_changed_since() -> None:
    live = Live().serve(A.at(position(500, "a")))
    live.passed = {ACME: {seq: position(seq, "a") for seq in (2, 3, 499, 500)}}
    assert "is of another history" in refused(live, required(position(3, "b")), LONG_S)
    # In the gap.
    assert live.snapshot_at(ACME, required(position(4, "a")), WAIT_S).position == position(500, "a")
    # A node that does not serve its newest change yet.
    live.serve(B.at(position(400, "a")))
    assert live.snapshot_at(ACME, required(position(3, "a")), WAIT_S).position == position(400, "a")


@pytest.mark.parametrize("newest", [2, 3, 4], ids=["shorter", "as long", "longer"])
def test_a_policy_of_a_replaced_history_answers_no_call_that_needs_a_position(newest: int) -> None:
    live = Live().serve(A.at(position(3, "a")))
    live.passed = {ACME: {seq: position(seq, "b") for seq in range(1, newest + 1)}}
    caller = Caller(live, required(position(2, "b")))
    until(lambda: live.asked == 1, "the call waits")
    live.serve(serving := B.at(position(newest, "b")))
    assert caller.found() is serving


def test_a_node_without_a_policy_store_refuses_positions_at_once() -> None:
    live = LivePolicies()
    live.put(TenantPolicy(ACME, TenantState.SERVING, 0, A))
    assert refused(live, required(position(1))) == (
        "this node has no policy store (setting `policy_store`), so its policies have no positions: ask without `at_least`"
    )


def test_both_a_revision_and_a_position_must_hold() -> None:
    live = Live().serve(A.at(position(1)))
    assert f"revision `{A.revision}` and position `{position(2)}` of" in refused(
        live, required(position(2), A.revision), WAIT_S
    )
    caller = Caller(live, required(position(2), B.revision))
    live.serve(C.at(position(2)), serving := B.at(position(3)))
    assert caller.found() is serving


def test_a_call_gets_its_revision_even_if_the_next_one_replaces_it_at_once() -> None:
    live = Live().serve(A.at(position(1)))
    caller = Caller(live, required(revision=B.revision))
    until(lambda: live.asked == 1, "the call waits")
    live.serve(wanted := B.at(position(2)), C.at(position(3)))
    assert caller.found() is wanted


def test_a_revision_that_was_replaced_is_refused_at_once_where_there_are_positions() -> None:
    live = Live().serve(A.at(position(1)), B.at(position(2)))
    assert refused(live, required(revision=A.revision)) == (
        f"revision `{A.revision}` of tenant `acme` has served and was replaced: it is `{B.revision}` at position "
        f"`{position(2)}`; to require a change or any later one, send its position as `at_least`"
    )


def test_a_replaced_revision_may_come_again_at_the_position_that_is_required_too() -> None:
    """A rollback is a new change with the old content."""
    live = Live().serve(A.at(position(1)), B.at(position(2)))
    caller = Caller(live, required(position(3), A.revision))
    until(lambda: live.asked == 1, "the call waits")
    live.serve(serving := A.at(position(3)))
    assert caller.found() is serving


def test_a_replaced_revision_of_files_is_waited_for() -> None:
    """An edit that is taken back brings it again."""
    live = LivePolicies()
    for snapshot in (A, B):
        live.put(TenantPolicy(ACME, TenantState.SERVING, 0, snapshot))
    caller = Caller(live, required(revision=A.revision))
    live.put(TenantPolicy(ACME, TenantState.SERVING, 0, A))
    assert caller.found() is A
    live.put(TenantPolicy(ACME, TenantState.SERVING, 0, B))
    expected = (
        f"revision `{A.revision}` of tenant `acme` did not become current within {WAIT_S:g} s: it is `{B.revision}`"
    )
    assert refused(live, required(revision=A.revision), WAIT_S) == expected


def test_only_the_last_replaced_revisions_are_remembered() -> None:
    live = Live().serve(A, B)
    for _ in range(130):
        live.serve(C, D)
    assert "did not become current" in refused(live, required(revision=A.revision), WAIT_S)
    assert "was replaced" in refused(live, required(revision=C.revision))


def test_a_removed_tenant_forgets_its_revisions() -> None:
    live = Live().serve(A, B)
    live.remove(ACME)
    assert refused(live, required(revision=A.revision), WAIT_S).endswith("it has none")


STEPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2) | st.none()), max_size=12)


@given(STEPS, st.integers(1, 8))
def test_no_answer_is_older_than_the_position_that_it_requires(
    steps: list[tuple[int, int | None]], wanted: int
) -> None:
    """Whatever serves, and in whatever order: the positions of one history go up, and pins take them away."""
    live, seq = Live(), 0
    requirement = required(position(wanted))
    for number, more in steps:
        seq += more or 0
        at = position(seq) if more is not None and seq else None
        live.serve(SNAPSHOTS[number].at(at))
        found = live.snapshot_as(ACME, requirement)
        assert (found is not None) == (at is not None and seq >= wanted)
        assert found is None or (found.position is not None and found.position.seq >= wanted)
