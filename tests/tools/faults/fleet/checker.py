"""What a fleet promises, checked over a history. The checker is a function of the history and of one number."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from math import inf
from typing import Final, NamedTuple

from remit.core.position import Position

from .history import (
    AwayTime,
    CheckCall,
    FleetHistory,
    LoggedPosition,
    NewsTime,
    SeenAnswer,
)
from .places import Places
from .writes import lost, wrong_changes

PROMISES: Final[Mapping[str, str]] = {
    "P1": "a node's position never falls within one history",
    "P2": "every position is one of the store's log",
    "P3": "a call with `at_least` is answered at that position or later, or not at all",
    "P4": "a connected node does not allow what was revoked longer ago than the bound",
    "P5": "once a fault is over, every node serves the newest release and the newest rows within the bound",
    "P6": "what was acknowledged is kept, or every node that had seen it records POLICY_FORK",
    "P7": "the published files and the rows granted since, read anew, give the same decision",
    "P8": "what is sent changes the log once, whole, and only what it names",
    "P9": "a call without `at_least` is answered while its node runs",
    "P10": "a row counts until its end, by the clock of the node that answers",
}
_MOST_SHOWN: Final = 3
_TICK_US: Final = 50_000
"""How far the monotonic clock and the time may drift apart."""


class FleetViolation(NamedTuple):
    promise: str
    text: str

    def __str__(self) -> str:
        return f"{self.promise} ({PROMISES[self.promise]}): {self.text}"


def violations(history: FleetHistory, bound_s: float) -> list[FleetViolation]:
    """What breaks a promise, a few of each. `bound_s` is how long news may take to a connected node."""
    places = Places(history.logs, history.allowed)
    decisions = _Decisions(history, places, bound_s * 1e6)
    found = {
        "P1": _falls(history, places),
        "P2": _unknown_positions(history, places),
        "P3": _older_than_asked(history, places),
        "P4": _late_allows(history, places, bound_s),
        "P5": _late_news(history, places, bound_s),
        "P6": lost(history, places),
        "P7": decisions.other(),
        "P8": wrong_changes(history, places),
        "P9": _unanswered(history),
        "P10": decisions.untimely(),
    }
    return [FleetViolation(promise, text) for promise, texts in found.items() for text in _some(texts)]


def caught_up_s(history: FleetHistory, bound_s: float) -> list[float]:
    """How long each node took to serve what was acknowledged before a fault was over. Infinite if it never did."""
    places = Places(history.logs, history.allowed)
    return [took_s for _, took_s, _ in _arrivals(history, places, bound_s)]


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


def _falls(history: FleetHistory, places: Places) -> Iterator[str]:
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


def _unknown_positions(history: FleetHistory, places: Places) -> Iterator[str]:
    for call, position in _placed(history):
        if position.tenant != call.tenant or not places.logs_of(position):
            yield f"node {call.node} answered about {call.tenant} at {position}, which is not in the store's log"


def _older_than_asked(history: FleetHistory, places: Places) -> Iterator[str]:
    for call in history.checks:
        wanted = call.at_least
        if wanted is None or call.answer is None:
            continue
        position = call.answer.position
        if position is None or not places.follows(position, wanted):
            other = " of another history" if position is not None and position.seq >= wanted.seq else ""
            yield f"node {call.node} was asked for {wanted} or later, and answered at {position}{other}"


def _late_allows(history: FleetHistory, places: Places, bound_s: float) -> Iterator[str]:
    acknowledged = _acknowledged_changes(history, places)
    away = _aways_by_node(history.aways)

    @cache
    def revokes(node: str, tenant: str, principal: str) -> list[tuple[float, Position]]:
        """The changes after which the principal may nothing, whichever of the node's clocks one takes."""
        changes, times = acknowledged[tenant]
        slowest_us = min(history.offsets_us(node, inf))
        return [
            (at_s, change.position)
            for at_s, change in zip(times, changes, strict=True)
            if not places.allows(change.position, principal, history.zero_us + at_s * 1e6 + slowest_us)
        ]

    for call, position in _placed(history):
        assert call.answer is not None
        since_s = call.began_s - bound_s
        if not call.answer.allowed or _overlaps(away[call.node], since_s, call.began_s):
            continue
        known = places.shared(position)
        for at_s, revoked in revokes(call.node, call.tenant, call.principal):
            if at_s < since_s and revoked.seq > known:
                yield (
                    f"node {call.node} allowed {call.principal} at {position}, {call.began_s - at_s:.2f} s after "
                    f"{revoked} revoked it"
                )
                break


def _late_news(history: FleetHistory, places: Places, bound_s: float) -> Iterator[str]:
    for node, took_s, news in _arrivals(history, places, bound_s):
        if took_s > bound_s + news.extra_s:
            took = f"after {took_s:.2f} s" if took_s < float("inf") else "never"
            yield f"node {node} served the newest change {took}, expected within {bound_s + news.extra_s:g} s"


def _arrivals(history: FleetHistory, places: Places, bound_s: float) -> Iterator[tuple[str, float, NewsTime]]:
    """Without a node that was away again before its time was over: it has its time when it is back."""
    away = _aways_by_node(history.aways)
    acknowledged = _acknowledged_changes(history, places)
    ended: dict[tuple[str, str], list[tuple[float, int]]] = defaultdict(list)
    for call, position in _placed(history):
        if places.holds(position):
            ended[call.node, call.tenant].append((call.ended_s, position.seq))
    for news in history.news:
        ends_s = news.at_s + bound_s + news.extra_s
        for node in news.nodes:
            if any(news.at_s <= each.began_s < ends_s for each in away[node]):
                continue
            took_s = 0.0
            for tenant, (changes, times) in acknowledged.items():
                before = (each.position.seq for each, at_s in zip(changes, times, strict=True) if at_s <= news.at_s)
                wanted = max(before, default=0)
                answers = (at_s for at_s, seq in ended[node, tenant] if seq >= wanted and at_s >= news.at_s)
                if wanted:
                    took_s = max(took_s, min(answers, default=float("inf")) - news.at_s)
            yield node, took_s, news


class _Decisions:
    """Which decisions the files and the rows do not give, and which they give at another time."""

    def __init__(self, history: FleetHistory, places: Places, late_us: float) -> None:
        """`late_us` is how long a row may count after its end."""
        self._history = history
        self._places = places
        self._late_us = late_us

    def other(self) -> Iterator[str]:
        for call, answer in self._answers():
            said = _said(call, answer)
            if answer.position not in self._places.change:
                if answer.revision not in self._history.allowed:
                    yield f"node {call.node} answered by revision {answer.revision[:12]}, which nobody published"
                elif (call.principal in self._history.allowed[answer.revision]) != answer.allowed:
                    yield f"{said}, and the files say otherwise"
            elif not self._is_of(call, answer, self._ever(answer.position)):
                revisions = {self._places.revision(answer.position, at_us) for at_us in self._ever(answer.position)}
                if answer.revision not in revisions and self._is_less(call, answer):
                    continue
                if answer.revision not in revisions:
                    yield f"{said}, by revision {answer.revision[:12]}, which is not the one of the log there"
                else:
                    yield f"{said}, and the log says otherwise"

    def untimely(self) -> Iterator[str]:
        for call, answer in self._answers():
            position = answer.position
            if position not in self._places.change:
                continue
            offsets = self._history.offsets_us(call.node, call.ended_s)
            first_us = self._history.zero_us + call.began_s * 1e6 + min(offsets) - self._late_us
            last_us = self._history.zero_us + call.ended_s * 1e6 + max(offsets) + _TICK_US
            within = (each for each in self._places.turns(position) if first_us < each <= last_us)
            if not self._is_of(call, answer, [first_us, last_us, *within]) and self._is_of(
                call, answer, self._ever(position)
            ):
                yield f"{_said(call, answer)}, as it was before the end of a row or will be after it"

    def _answers(self) -> Iterator[tuple[CheckCall, SeenAnswer]]:
        return ((each, each.answer) for each in self._history.checks if each.answer is not None)

    def _is_less(self, call: CheckCall, answer: SeenAnswer) -> bool:
        """Whether it may be the answer of a node that loads newer files: what was there, less what was taken away since. Its
        revision has no other source, or is of the files there, if no row is left."""
        position = answer.position
        assert position is not None
        published = self._history.allowed.keys() - {self._places.change[position].revision}
        if answer.revision in published or not self._places.newer_files(position):
            return False
        there = {self._places.allows(position, call.principal, at_us) for at_us in self._ever(position)}
        return answer.allowed in there or (not answer.allowed and self._places.may_lose(position, call.principal))

    def _ever(self, position: Position) -> list[float]:
        return [0, *self._places.turns(position)]

    def _is_of(self, call: CheckCall, answer: SeenAnswer, times_us: Sequence[float]) -> bool:
        """Whether it is the answer at one of these times."""
        position = answer.position
        assert position is not None
        return any(
            self._places.revision(position, at_us) == answer.revision
            and self._places.allows(position, call.principal, at_us) == answer.allowed
            for at_us in times_us
        )


def _said(call: CheckCall, answer: SeenAnswer) -> str:
    return f"node {call.node} {'allowed' if answer.allowed else 'denied'} {call.principal} at {answer.position}"


def _unanswered(history: FleetHistory) -> Iterator[str]:
    down = _aways_by_node(each for each in history.aways if not each.runs)
    for call in history.checks:
        if call.answer is None and call.at_least is None and not _overlaps(down[call.node], call.began_s, call.ended_s):
            yield f"node {call.node} did not answer about {call.tenant}: {call.error}"


def _acknowledged_changes(history: FleetHistory, places: Places) -> dict[str, tuple[list[LoggedPosition], list[float]]]:
    """The acknowledged changes of each tenant in the last log, with the times of the acknowledgements."""
    at_s = history.acknowledged_s()
    when = {each.seq: at_s[each.message] for each in history.last.releases if each.message in at_s}
    found: dict[str, tuple[list[LoggedPosition], list[float]]] = defaultdict(lambda: ([], []))
    those = [
        (change, when[change.release])
        for change in history.last.changes
        if change.rows is None and change.release in when
    ]
    those += [
        (places.change[call.position], call.ended_s)
        for call in history.changes
        if call.position is not None and places.holds(call.position)
    ]
    for change, time_s in those:
        changes, times = found[change.position.tenant]
        changes.append(change)
        times.append(time_s)
    return found


def _aways_by_node(aways: Iterator[AwayTime] | Sequence[AwayTime]) -> dict[str, list[AwayTime]]:
    found: dict[str, list[AwayTime]] = defaultdict(list)
    for each in aways:
        found[each.node].append(each)
    return found


def _overlaps(aways: Sequence[AwayTime], began_s: float, ended_s: float) -> bool:
    return any(each.began_s <= ended_s and began_s <= each.ended_s for each in aways)
