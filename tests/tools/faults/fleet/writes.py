"""Whether the logs of a policy store hold what writers were told."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

from remit.core.names import Tenant
from remit.core.position import Position

from .history import (
    ChangeCall,
    FleetHistory,
    LoggedPosition,
    PublishCall,
    StoreLog,
    WriteOutcome,
)
from .places import Places


def lost(history: FleetHistory, places: Places) -> Iterator[str]:
    """How the logs contradict what writers were told, and what nodes had served that is gone."""
    for call in history.publishes:
        yield from _wrong_ends(call, history)
    yield from _lost_requests(history, places)
    saw: dict[str, Position] = {}
    for check in history.checks:
        position = check.answer.position if check.answer is not None else None
        if position is not None and places.logs_of(position) and not places.holds(position):
            saw.setdefault(check.node, position)
    for node, position in saw.items():
        if not history.forks.get(node):
            yield f"the store lost {position}, which node {node} had served, and the node recorded no POLICY_FORK"


def wrong_changes(history: FleetHistory, places: Places) -> Iterator[str]:
    """Changes of the log that nobody wants, or that are not as somebody wants them."""
    yield from _wrong_releases(history.last)
    yield from _wrong_rows(history, places)
    for log in history.logs:
        for change in log.changes:
            yield from _ended_early(change, places)


def _wrong_ends(call: PublishCall, history: FleetHistory) -> Iterator[str]:
    found = [release for log in history.logs for release in log.releases if release.message == call.message]
    kept = [release for release in history.last.releases if release.message == call.message]
    if call.outcome is WriteOutcome.REFUSED and found:
        yield f"`{call.message}` was refused, and is in the log"
    if call.outcome is WriteOutcome.ACKNOWLEDGED and not found:
        yield f"`{call.message}` was acknowledged, and is in no log"
    if call.outcome is WriteOutcome.ACKNOWLEDGED and history.synchronous and not kept:
        yield f"`{call.message}` was acknowledged, and the synchronous standby does not have it"
    if len(kept) > 1:
        yield f"`{call.message}` is {len(kept)} times in the log"
    for release in found:
        if call.after is not None and release.seq != call.after + 1:
            yield f"`{call.message}` was based on release {call.after}, and is release {release.seq}"


def _lost_requests(history: FleetHistory, places: Places) -> Iterator[str]:
    made = {each.rows.request for log in history.logs for each in log.changes if each.rows is not None}
    outcomes: dict[str, set[WriteOutcome]] = defaultdict(set)
    for call in history.changes:
        outcomes[call.request].add(call.outcome)
        if call.outcome is not WriteOutcome.ACKNOWLEDGED:
            continue
        assert call.position is not None
        if not places.logs_of(call.position):
            yield f"`{call.request}` was acknowledged at {call.position}, which is in no log"
        elif history.synchronous and not places.holds(call.position):
            yield f"`{call.request}` was acknowledged, and the synchronous standby does not have it"
    for request, those in outcomes.items():
        if those == {WriteOutcome.REFUSED} and request in made:
            yield f"`{request}` was refused, and is in the log"


def _wrong_rows(history: FleetHistory, places: Places) -> Iterator[str]:
    calls: dict[str, list[ChangeCall]] = defaultdict(list)
    for call in history.changes:
        calls[call.request].append(call)
        if call.position is not None and places.logs_of(call.position):
            yield from _unlike_told(call, places.change[call.position], places)
    for log in history.logs:
        made: dict[str, list[LoggedPosition]] = defaultdict(list)
        for change in log.changes:
            if change.rows is not None and change.rows.request in calls:
                made[change.rows.request].append(change)
                yield from _unlike(calls[change.rows.request][0], change, places)
        for request, changes in made.items():
            if len(changes) > 1:
                where = " and ".join(str(each.position) for each in changes)
                yield f"`{request}` was sent {len(calls[request])} times, and made {where}"


def _unlike(call: ChangeCall, change: LoggedPosition, places: Places) -> Iterator[str]:
    """How a change differs from what its request wants."""
    assert change.rows is not None
    granted, named = {*change.rows.granted}, {each.key for each in call.granted} | {*call.revoked}
    if granted - {*call.granted} or {*change.rows.revoked} - named:
        yield f"{change.position} changes rows that `{call.request}` does not name"
    if not _is_as_wanted(call, change, places):
        yield f"{change.position} makes a part of `{call.request}` alone"
    expected = call.expected
    if expected is not None and (
        expected.seq + 1 != change.position.seq or not places.follows(change.position, expected)
    ):
        yield f"{change.position} was made by `{call.request}`, which expected {expected}"


def _unlike_told(call: ChangeCall, change: LoggedPosition, places: Places) -> Iterator[str]:
    """How the position of an acknowledgement is not the one of what was acknowledged."""
    is_own = change.rows is not None and change.rows.request == call.request
    if not call.already and not is_own:
        yield f"`{call.request}` was acknowledged at {change.position}, which is another change"
    elif not _is_as_wanted(call, change, places):
        yield f"`{call.request}` was acknowledged at {change.position}, where rows are not as it wants them"


def _is_as_wanted(call: ChangeCall, change: LoggedPosition, places: Places) -> bool:
    """Whether the rows are as a request wants them. A row to revoke whose end has passed is as good as none."""
    rows = places.rows(change.position)
    never = {key for key in call.revoked if key in rows and rows[key] is None}
    return not never and all(each.key in rows and rows[each.key] == each.expires_us for each in call.granted)


def _ended_early(change: LoggedPosition, places: Places) -> Iterator[str]:
    if change.rows is None:
        return
    before = places.rows_before(change.position)
    for key in change.rows.ended:
        end_us = before.get(key)
        if end_us is None or end_us > change.rows.time_us:
            yield f"{change.position} says that the row of {' in '.join(key)} has ended, and it has not"


def _wrong_releases(log: StoreLog) -> Iterator[str]:
    made: Counter[tuple[int, Tenant]] = Counter(
        (each.release, each.position.tenant) for each in log.changes if each.rows is None
    )
    for before, after in pairwise([None, *log.releases]):
        assert after is not None
        old = before.tenants if before is not None else {}
        same_root = before is not None and before.root == after.root
        differing = {
            tenant
            for tenant in old.keys() | after.tenants.keys()
            if old.get(tenant) != after.tenants.get(tenant) or not same_root
        }
        for tenant in sorted(old.keys() | after.tenants.keys()):
            times, expected = made.pop((after.seq, tenant), 0), int(tenant in differing)
            if times != expected:
                yield f"release {after.seq} has {times} changes of {tenant}, expected {expected}"
    for (release, tenant), times in made.items():
        yield f"{times} changes of {tenant} name release {release}, which does not have it"
    if [each.seq for each in log.releases] != list(range(1, len(log.releases) + 1)):
        yield "the releases have gaps"
