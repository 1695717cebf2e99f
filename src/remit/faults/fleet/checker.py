"""What a fleet promises, checked over a history. The checker is a function of the history and of one number."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.core.position import Position
from remit.faults.fleet.history import (
    AwayTime,
    CheckCall,
    FleetHistory,
    LoggedPosition,
    NewsTime,
    PublishCall,
    PublishOutcome,
    StoreLog,
)

PROMISES: Final[Mapping[str, str]] = {
    "P1": "a node's position never falls within one history",
    "P2": "every position is one of the store's log",
    "P3": "a call with `at_least` is answered at that position or later, or not at all",
    "P4": "a connected node does not allow what was revoked longer ago than the bound",
    "P5": "once a fault is over, every node serves the newest release within the bound",
    "P6": "an acknowledged release is kept, or every node that had seen it records POLICY_FORK",
    "P7": "the published files, asked in process, give the same decision",
    "P8": "a release has exactly one change for each tenant that differs, and none for others",
    "P9": "a call without `at_least` is answered while its node runs",
}
_MOST_SHOWN: Final = 3


class FleetViolation(NamedTuple):
    promise: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise} ({PROMISES[self.promise]}): {self.text}"


def violations(history: FleetHistory, bound_s: float) -> list[FleetViolation]:
    """What breaks a promise, a few of each. `bound_s` is how long news may take to a connected node."""
    places = _Places(history.logs)
    found = {
        "P1": _falls(history, places),
        "P2": _unknown_positions(history, places),
        "P3": _older_than_asked(history, places),
        "P4": _late_allows(history, places, bound_s),
        "P5": _late_news(history, places, bound_s),
        "P6": _lost_releases(history, places),
        "P7": _other_decisions(history, places),
        "P8": _wrong_changes(history.last),
        "P9": _unanswered(history),
    }
    return [FleetViolation(promise, text) for promise, texts in found.items() for text in _some(texts)]


def caught_up_s(history: FleetHistory) -> list[float]:
    """How long each node took to serve what was acknowledged before a fault was over. Infinite if it never did."""
    places = _Places(history.logs)
    return [took_s for _, took_s, _ in _arrivals(history, places)]


class _Places:
    """Where positions are: in which logs, and what they stand for."""

    def __init__(self, logs: Sequence[StoreLog]) -> None:
        self._logs_of: dict[Position, frozenset[int]] = {}
        self.change: dict[Position, LoggedPosition] = {}
        for number, log in enumerate(logs):
            for change in log.changes:
                self._logs_of[change.position] = self.logs_of(change.position) | {number}
                self.change[change.position] = change
        self.last = len(logs) - 1

    def logs_of(self, position: Position) -> frozenset[int]:
        return self._logs_of.get(position, frozenset())

    def holds(self, position: Position) -> bool:
        """Whether the last log has it."""
        return self.last in self.logs_of(position)

    def shared(self, position: Position) -> int:
        """Up to which change of the last log a node at this position knows all."""
        if self.holds(position):
            return position.seq
        logs = self.logs_of(position)
        same = (
            each.seq
            for each in self.change
            if each.tenant == position.tenant and self.holds(each) and self.logs_of(each) & logs
        )
        return max(same, default=0)

    def follows(self, later: Position, earlier: Position) -> bool:
        """Whether `later` knows of all that `earlier` knows of."""
        return later.seq >= earlier.seq and bool(self.logs_of(later) & self.logs_of(earlier))

    def replaces(self, later: Position, earlier: Position) -> bool:
        """Whether `later` is of a history that came after the one of `earlier`."""
        return max(self.logs_of(later), default=-1) > max(self.logs_of(earlier), default=-1)


def _some(texts: Iterator[str]) -> Iterator[str]:
    shown = 0
    for text in texts:
        shown += 1
        if shown <= _MOST_SHOWN:
            yield text
    if shown > _MOST_SHOWN:
        yield f"and {shown - _MOST_SHOWN} more"


def _placed(history: FleetHistory) -> Iterator[tuple[CheckCall, Position]]:
    for call in history.checks:
        if call.answer is not None and call.answer.position is not None:
            yield call, call.answer.position


def _falls(history: FleetHistory, places: _Places) -> Iterator[str]:
    """Of calls that overlap, neither is later."""
    calls: dict[tuple[str, str], list[tuple[CheckCall, Position]]] = defaultdict(list)
    for call, position in _placed(history):
        calls[call.node, call.tenant].append((call, position))
    for (node, _), those in calls.items():
        ended = sorted(those, key=lambda each: each[0].ended_s)
        highest: dict[frozenset[int], Position] = {}
        """The highest position of the calls that have ended, for each set of logs."""
        number = 0
        for call, position in sorted(those, key=lambda each: each[0].began_s):
            while number < len(ended) and ended[number][0].ended_s < call.began_s:
                before = ended[number][1]
                logs = places.logs_of(before)
                if logs not in highest or highest[logs].seq < before.seq:
                    highest[logs] = before
                number += 1
            for before in highest.values():
                known = places.logs_of(before) and places.logs_of(position)
                if known and not places.follows(position, before) and not places.replaces(position, before):
                    yield f"node {node} answered at {before}, and later at {position}"


def _unknown_positions(history: FleetHistory, places: _Places) -> Iterator[str]:
    for call, position in _placed(history):
        if position.tenant != call.tenant or not places.logs_of(position):
            yield f"node {call.node} answered about {call.tenant} at {position}, which is not in the store's log"


def _older_than_asked(history: FleetHistory, places: _Places) -> Iterator[str]:
    for call in history.checks:
        wanted = call.at_least
        if wanted is None or call.answer is None:
            continue
        position = call.answer.position
        if position is None or not places.follows(position, wanted):
            other = " of another history" if position is not None and position.seq >= wanted.seq else ""
            yield f"node {call.node} was asked for {wanted} or later, and answered at {position}{other}"


def _late_allows(history: FleetHistory, places: _Places, bound_s: float) -> Iterator[str]:
    acknowledged = _acknowledged_changes(history)
    away = _aways_by_node(history.aways)
    for call, position in _placed(history):
        assert call.answer is not None
        since_s = call.began_s - bound_s
        if not call.answer.allowed or _overlaps(away[call.node], since_s, call.began_s):
            continue
        changes, times = acknowledged[call.tenant]
        known = places.shared(position)
        for at_s, change in zip(times, changes, strict=True):
            revoked = call.principal not in history.allowed.get(change.revision, frozenset())
            if at_s < since_s and change.position.seq > known and revoked:
                late_s = call.began_s - at_s
                yield (
                    f"node {call.node} allowed {call.principal} at {position}, {late_s:.2f} s after "
                    f"{change.position} revoked it"
                )
                break


def _late_news(history: FleetHistory, places: _Places, bound_s: float) -> Iterator[str]:
    for node, took_s, news in _arrivals(history, places):
        if took_s > bound_s + news.extra_s:
            took = f"after {took_s:.2f} s" if took_s < float("inf") else "never"
            yield f"node {node} served the newest release {took}, expected within {bound_s + news.extra_s:g} s"


def _arrivals(history: FleetHistory, places: _Places) -> Iterator[tuple[str, float, NewsTime]]:
    acknowledged = _acknowledged_changes(history)
    ended: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for call, position in _placed(history):
        if places.holds(position):
            ended[call.node, call.tenant].append((call.ended_s, position.seq))
    for news in history.news:
        for node in news.nodes:
            took_s = 0.0
            for tenant, (changes, times) in acknowledged.items():
                before = (each.position.seq for each, at_s in zip(changes, times, strict=True) if at_s <= news.at_s)
                wanted = max(before, default=0)
                answers = (at_s for at_s, seq in ended[node, tenant] if seq >= wanted and at_s >= news.at_s)
                if wanted:
                    took_s = max(took_s, min(answers, default=float("inf")) - news.at_s)
            yield node, took_s, news


def _lost_releases(history: FleetHistory, places: _Places) -> Iterator[str]:
    for call in history.publishes:
        yield from _wrong_ends(call, history)
    saw: dict[str, Position] = {}
    for check, position in _placed(history):
        if places.logs_of(position) and not places.holds(position):
            saw.setdefault(check.node, position)
    for node, position in saw.items():
        if not history.forks.get(node):
            yield f"the store lost {position}, which node {node} had served, and the node recorded no POLICY_FORK"


def _wrong_ends(call: PublishCall, history: FleetHistory) -> Iterator[str]:
    """How the logs contradict what a publisher was told."""
    found = [release for log in history.logs for release in log.releases if release.message == call.message]
    kept = [release for release in history.last.releases if release.message == call.message]
    if call.outcome is PublishOutcome.REFUSED and found:
        yield f"`{call.message}` was refused, and is in the log"
    if call.outcome is PublishOutcome.ACKNOWLEDGED and not found:
        yield f"`{call.message}` was acknowledged, and is in no log"
    if call.outcome is PublishOutcome.ACKNOWLEDGED and history.synchronous and not kept:
        yield f"`{call.message}` was acknowledged, and the synchronous standby does not have it"
    if len(kept) > 1:
        yield f"`{call.message}` is {len(kept)} times in the log"
    for release in found:
        if call.after is not None and release.seq != call.after + 1:
            yield f"`{call.message}` was based on release {call.after}, and is release {release.seq}"


def _other_decisions(history: FleetHistory, places: _Places) -> Iterator[str]:
    for call in history.checks:
        answer = call.answer
        if answer is None:
            continue
        change = places.change.get(answer.position) if answer.position is not None else None
        if change is not None and change.revision != answer.revision:
            yield (
                f"node {call.node} answered at {answer.position} by revision {answer.revision[:12]}, and the log has "
                f"{change.revision[:12]} there"
            )
        elif answer.revision not in history.allowed:
            yield f"node {call.node} answered by revision {answer.revision[:12]}, which nobody published"
        elif (call.principal in history.allowed[answer.revision]) != answer.allowed:
            said = "allowed" if answer.allowed else "denied"
            yield f"node {call.node} {said} {call.principal} at {answer.position}, and the files say otherwise"


def _wrong_changes(log: StoreLog) -> Iterator[str]:
    made: Counter[tuple[int, Tenant]] = Counter((each.release, each.position.tenant) for each in log.changes)
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


def _unanswered(history: FleetHistory) -> Iterator[str]:
    down = _aways_by_node(each for each in history.aways if not each.runs)
    for call in history.checks:
        if call.answer is None and call.at_least is None and not _overlaps(down[call.node], call.began_s, call.ended_s):
            yield f"node {call.node} did not answer about {call.tenant}: {call.error}"


def _acknowledged_changes(history: FleetHistory) -> dict[str, tuple[list[LoggedPosition], list[float]]]:
    """The acknowledged changes of each tenant in the last log, with the times of the acknowledgements."""
    at_s = history.acknowledged_s()
    when = {each.seq: at_s[each.message] for each in history.last.releases if each.message in at_s}
    found: dict[str, tuple[list[LoggedPosition], list[float]]] = defaultdict(lambda: ([], []))
    for change in history.last.changes:
        if change.release in when:
            changes, times = found[change.position.tenant]
            changes.append(change)
            times.append(when[change.release])
    return found


def _aways_by_node(aways: Iterator[AwayTime] | Sequence[AwayTime]) -> dict[str, list[AwayTime]]:
    found: dict[str, list[AwayTime]] = defaultdict(list)
    for each in aways:
        found[each.node].append(each)
    return found


def _overlaps(aways: Sequence[AwayTime], began_s: float, ended_s: float) -> bool:
    return any(each.began_s <= ended_s and began_s <= each.ended_s for each in aways)
