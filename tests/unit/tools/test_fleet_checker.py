"""Histories that break each promise of a fleet, and some that look as if they did."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from tools.faults.fleet.checker import PROMISES, caught_up_s, violations
from tools.faults.fleet.history import (
    AwayTime,
    ChangeCall,
    CheckCall,
    ClockTime,
    FleetHistory,
    LoggedPosition,
    LoggedRelease,
    LoggedRows,
    NewsTime,
    PublishCall,
    RowGrant,
    SeenAnswer,
    StoreLog,
    WriteOutcome,
)

from remit.core.names import Tenant
from remit.core.position import Position

ACME = Tenant("acme")
BOUND_S = 2.0
ALLOWED = {f"rev-{seq}": frozenset({"user:ann"} if seq % 2 else {"user:bob"}) for seq in range(1, 8)}
"""Odd revisions allow ann, even ones allow bob."""


def position(seq: int, digit: str = "a") -> Position:
    return Position(ACME, seq, digit * 16)


def log(*digits: str) -> StoreLog:
    """One release after another, whose changes of acme have these digests."""
    numbered = [*enumerate(digits, 1)]
    return StoreLog(
        [LoggedRelease(seq, f"change {digit}{seq}", "root", {ACME: f"{digit}{seq}"}) for seq, digit in numbered],
        [LoggedPosition(position(seq, digit), seq, f"rev-{seq}") for seq, digit in numbered],
    )


def published(
    seq: int, ended_s: float, outcome: WriteOutcome = WriteOutcome.ACKNOWLEDGED, digit: str = "a"
) -> PublishCall:
    return PublishCall(f"change {digit}{seq}", seq - 1, outcome, ended_s - 0.1, ended_s)


def asked(
    at_s: float,
    at: Position | None,
    principal: str = "user:ann",
    *,
    allowed: bool | None = None,
    node: str = "one",
    at_least: Position | None = None,
    revision: str = "",
) -> CheckCall:
    """Answers as the files say, unless told otherwise. Without a position there is no answer."""
    answer = None
    if at is not None:
        revision = revision or f"rev-{at.seq}"
        right = principal in ALLOWED[revision]
        answer = SeenAnswer(right if allowed is None else allowed, revision, at)
    return CheckCall(node, ACME, principal, at_least, answer, at_s, at_s + 0.01, "" if answer else "UNAVAILABLE")


def history(
    *events: Any, logs: tuple[StoreLog, ...] = (log("a", "a", "a"),), forks: tuple[str, ...] = ()
) -> FleetHistory:
    found = FleetHistory(logs=logs, allowed=ALLOWED, forks=dict.fromkeys(forks, 1))
    lists: dict[type, list[Any]] = {
        PublishCall: found.publishes,
        ChangeCall: found.changes,
        CheckCall: found.checks,
        ClockTime: found.clocks,
        AwayTime: found.aways,
        NewsTime: found.news,
    }
    for each in events:
        lists[type(each)].append(each)
    return found


LOST = log("a", "a", "b", "b"), log("a", "a", "c")
"""A failover lost changes 3 and 4, and change 3 is another one since."""
SHARED = StoreLog(
    [LoggedRelease(1, "change a1", "root", {ACME: "1"}), LoggedRelease(2, "change a2", "other", {ACME: "1"})],
    [LoggedPosition(position(1), 1, "rev-1"), LoggedPosition(position(2), 2, "rev-2")],
)
"""Release 2 differs in the root files alone, which are every tenant's."""


def granting(
    seq: int,
    *granted: RowGrant,
    revoked: tuple[str, ...] = (),
    ended: tuple[str, ...] = (),
    request: str = "",
    at_s: float = 0.0,
) -> LoggedPosition:
    """A change of rows of run time, over the files of release 2, which allow bob alone."""
    keys = (tuple((who, "role:viewer") for who in those) for those in (revoked, ended))
    rows = LoggedRows(request or f"grant-{seq}", int(at_s * 1e6), f"{seq}", granted, *keys)
    return LoggedPosition(position(seq), 2, "rev-2", rows)


def viewer(who: str, until_s: float | None = None) -> RowGrant:
    return RowGrant(who, "role:viewer", None if until_s is None else int(until_s * 1e6))


def changed(*changes: LoggedPosition) -> StoreLog:
    return log("a", "a")._replace(changes=[*log("a", "a").changes, *changes])


ANN, CID_UNTIL_5 = viewer("user:ann"), viewer("user:cid", 5.0)
ROWS = changed(
    granting(3, ANN, CID_UNTIL_5),
    granting(4, RowGrant("user:bob", "group:suspended")),
    granting(5, revoked=("user:ann",), ended=("user:cid",), at_s=6.0),
)
LOADING = StoreLog(
    [*ROWS.releases, LoggedRelease(3, "change a3", "root", {ACME: "a3"})],
    [*ROWS.changes, LoggedPosition(position(6), 3, "rev-3")],
)
"""The same, and newer files after them."""


def sent(
    seq: int | None,
    ended_s: float = 1.0,
    *granted: RowGrant,
    revoked: tuple[str, ...] = (),
    request: str = "",
    outcome: WriteOutcome = WriteOutcome.ACKNOWLEDGED,
    expected: Position | None = None,
    already: bool = False,
) -> ChangeCall:
    """A request that was acknowledged at this position; None for no acknowledgement."""
    keys = tuple((who, "role:viewer") for who in revoked)
    at = position(seq) if seq is not None else None
    name = request or f"grant-{seq}"
    return ChangeCall("one", ACME, name, granted, keys, expected, outcome, at, already, ended_s - 0.1, ended_s)


def seen(
    at_s: float, seq: int, count: int, principal: str, *, allowed: bool, node: str = "one", rows: int | None = None
) -> CheckCall:
    """An answer by so many rows of run time, after the change `rows`."""
    text = f"remit effective 1\nrev-2\n{rows or seq}\n{count}"
    revision = sha256(text.encode()).hexdigest() if count else "rev-2"
    answer = SeenAnswer(allowed, revision, position(seq))
    return CheckCall(node, ACME, principal, None, answer, at_s, at_s + 0.01)


RIGHT = {
    "nothing happens": history(),
    "positions rise, also where calls overlap": history(
        asked(1.0, position(1)), asked(1.005, position(2)), asked(1.007, position(1)), asked(2.0, position(3))
    ),
    "nodes do not wait for each other": history(asked(1.0, position(3)), asked(2.0, position(1), node="two")),
    "a later position is as good": history(asked(1.0, position(3), at_least=position(2))),
    "a call that needs a position may fail": history(asked(1.0, None, at_least=position(3))),
    "an allow within the bound": history(published(2, 1.0), asked(2.9, position(1))),
    "a deny of what was given long ago": history(published(3, 1.0), asked(9.0, position(2))),
    "an allow of the newest release": history(published(2, 1.0), published(3, 1.1), asked(9.0, position(3))),
    "a revoke that nobody was told of": history(published(2, 1.0, WriteOutcome.UNKNOWN), asked(9.0, position(1))),
    "an old allow of a node that is cut off": history(
        published(2, 1.0), AwayTime("one", 0.5, 8.0), asked(9.0, position(1))
    ),
    "news within the bound": history(
        published(2, 1.0), NewsTime(["one"], 2.0), asked(2.5, position(1), "user:bob"), asked(3.9, position(2))
    ),
    "news that takes longer for a reason": history(
        published(2, 1.0), NewsTime(["one"], 2.0, extra_s=5.0), AwayTime("one", 1.0, 9.0), asked(8.0, position(2))
    ),
    "a fork that is recorded": history(
        asked(1.0, position(4, "b")), asked(2.0, position(3, "c")), logs=LOST, forks=("one",)
    ),
    "a lost release that nobody saw": history(published(3, 1.0, digit="b"), asked(2.0, position(3, "c")), logs=LOST),
    "a release whose publisher does not know": history(published(3, 1.0, WriteOutcome.UNKNOWN)),
    "a node is away again before its time is over": history(
        published(2, 1.0),
        NewsTime(["one"], 2.0),
        AwayTime("one", 2.1, 5.0),
        NewsTime(["one"], 5.0),
        asked(6.0, position(2)),
    ),
    "a node that is down does not answer": history(AwayTime("one", 0.0, 2.0, runs=False), asked(1.0, None)),
    "root files are every tenant's": history(logs=(SHARED,)),
    "rows add to the files": history(
        seen(1.0, 3, 2, "user:ann", allowed=True),
        seen(1.0, 3, 2, "user:bob", allowed=True),
        seen(1.1, 4, 3, "user:bob", allowed=False),
        seen(7.0, 5, 1, "user:ann", allowed=False),
        logs=(ROWS,),
    ),
    "a row counts until its end, give or take the bound": history(
        seen(4.9, 3, 2, "user:cid", allowed=True),
        seen(6.9, 3, 2, "user:cid", allowed=True),
        seen(5.0, 3, 1, "user:cid", allowed=False, node="two"),
        logs=(ROWS,),
    ),
    "a row ends by the node's own clock": history(
        ClockTime("one", 0.5, 3.0), seen(2.1, 3, 1, "user:cid", allowed=False), logs=(ROWS,)
    ),
    "a request that is sent twice": history(
        sent(3, 1.0, ANN, CID_UNTIL_5), sent(3, 1.5, ANN, CID_UNTIL_5, outcome=WriteOutcome.UNKNOWN), logs=(ROWS,)
    ),
    "a request that finds things as it wants them": history(
        sent(5, 7.0, revoked=("user:ann",), request="again", already=True), logs=(ROWS,)
    ),
    "a request that nobody was told of": history(
        sent(None, request="grant-4", outcome=WriteOutcome.UNKNOWN),
        sent(None, request="nothing", outcome=WriteOutcome.REFUSED),
        logs=(changed(granting(3, ANN)),),
    ),
    "a row to revoke that ends by itself": history(sent(5, 6.0, revoked=("user:ann", "user:cid")), logs=(ROWS,)),
    "a lost change of rows that nobody saw": history(
        sent(3, 1.0, ANN, request="grant-3"), logs=(changed(granting(3, ANN)), log("a", "a"))
    ),
    "what was taken away counts while newer files load": history(
        seen(1.0, 3, 2, "user:ann", allowed=False, rows=5),
        seen(1.0, 3, 2, "user:bob", allowed=False, rows=4),
        seen(1.0, 3, 1, "user:cid", allowed=True, rows=5),
        seen(1.0, 3, 0, "user:ann", allowed=False),
        logs=(LOADING,),
    ),
    "an old allow by a row within the bound": history(
        sent(5, 6.0, revoked=("user:ann",)), seen(7.9, 4, 2, "user:ann", allowed=True), logs=(ROWS,)
    ),
}

WRONG = {
    "P1": [
        history(asked(1.0, position(3)), asked(2.0, position(2))),
        # It goes back to the history that was lost.
        history(asked(1.0, position(3, "c")), asked(2.0, position(3, "b")), logs=LOST, forks=("one",)),
        history(asked(1.0, position(4, "b")), asked(2.0, position(3, "b")), logs=LOST, forks=("one",)),
    ],
    "P2": [
        history(asked(1.0, position(1, "f"))),
        history(asked(1.0, position(1))._replace(tenant="globex")),
    ],
    "P3": [
        history(asked(1.0, position(1), at_least=position(2))),
        history(asked(1.0, position(4, "b"), at_least=position(3, "c")), logs=LOST, forks=("one",)),
        history(asked(1.0, position(3, "c"), at_least=position(3, "b")), logs=LOST),
    ],
    "P4": [
        history(published(2, 1.0), asked(3.2, position(1))),
        # It was given again later, and the answer rests on what was taken away.
        history(published(2, 1.0), published(3, 1.1), asked(9.0, position(1))),
        history(published(2, 1.0), AwayTime("one", 0.5, 6.0), asked(9.0, position(1))),
        history(published(2, 1.0), AwayTime("two", 0.5, 9.0), asked(9.0, position(1))),
        # Another node took the row away, or suspended somebody of the files.
        history(sent(5, 6.0, revoked=("user:ann",)), seen(8.1, 4, 2, "user:ann", allowed=True), logs=(ROWS,)),
        history(
            sent(4, 1.0, RowGrant("user:bob", "group:suspended")),
            seen(4.0, 3, 2, "user:bob", allowed=True),
            logs=(ROWS,),
        ),
    ],
    "P5": [
        history(published(2, 1.0), NewsTime(["one"], 2.0)),
        history(published(2, 1.0), NewsTime(["one"], 2.0), asked(4.1, position(2))),
        history(published(2, 1.0), NewsTime(["one", "two"], 2.0), asked(2.1, position(2))),
        # Another node is away; it is away after its time; it is back.
        history(published(2, 1.0), NewsTime(["one"], 2.0), AwayTime("two", 2.1, 5.0)),
        history(published(2, 1.0), NewsTime(["one"], 2.0), AwayTime("one", 4.1, 5.0)),
        history(
            published(2, 1.0),
            NewsTime(["one"], 2.0),
            AwayTime("one", 2.1, 5.0),
            NewsTime(["one"], 5.0),
            asked(7.1, position(2)),
        ),
        history(sent(3, 1.0, ANN, CID_UNTIL_5), NewsTime(["one"], 2.0), asked(2.1, position(2)), logs=(ROWS,)),
    ],
    "P6": [
        history(published(4, 1.0)),
        history(published(2, 1.0, WriteOutcome.REFUSED)),
        history(published(2, 1.0)._replace(after=0)),
        history(asked(1.0, position(3, "b")), logs=LOST),
        history(asked(1.0, position(3, "b")), logs=LOST, forks=("two",)),
        replace(history(published(3, 1.0, digit="b"), logs=LOST), synchronous=True),
        history(sent(6, 1.0, ANN), logs=(ROWS,)),
        history(
            sent(None, 1.0, ANN, request="grant-3", outcome=WriteOutcome.REFUSED), logs=(changed(granting(3, ANN)),)
        ),
        history(seen(1.0, 3, 1, "user:ann", allowed=True), logs=(changed(granting(3, ANN)), log("a", "a"))),
        replace(
            history(sent(3, 1.0, ANN), logs=(changed(granting(3, ANN)), log("a", "a"))),
            synchronous=True,
        ),
    ],
    "P7": [
        history(asked(1.0, position(1), allowed=False)),
        history(asked(1.0, position(2), allowed=True)),
        history(asked(1.0, position(2), revision="rev-3")),
        # Rows that were lost on the node's disk and taken for none; half a change; a revoke that an older grant overtook.
        history(seen(1.0, 3, 0, "user:ann", allowed=False), logs=(ROWS,)),
        history(
            seen(1.0, 3, 1, "user:ann", allowed=True, rows=3), logs=(changed(granting(3, ANN, viewer("user:dee"))),)
        ),
        history(seen(7.0, 5, 1, "user:ann", allowed=True), logs=(ROWS,)),
        history(seen(1.0, 4, 3, "user:bob", allowed=True), logs=(ROWS,)),
        # Bob was not suspended yet; nobody gave eve anything; there are no newer files to load.
        history(seen(1.0, 3, 2, "user:bob", allowed=False, rows=3), logs=(changed(*ROWS.changes[2:3]),)),
        history(seen(1.0, 3, 1, "user:eve", allowed=True, rows=5), logs=(LOADING,)),
        history(seen(1.0, 3, 1, "user:ann", allowed=False, rows=5), logs=(ROWS,)),
        # New rows over the files of an older release, which is no state of the log.
        history(
            seen(1.0, 3, 1, "user:ann", allowed=True)._replace(answer=SeenAnswer(True, "between two states", None)),
            logs=(ROWS,),
        ),
    ],
    "P8": [
        history(logs=(log("a", "a")._replace(changes=log("a").changes),)),
        history(
            logs=(log("a", "a")._replace(changes=[*log("a", "a").changes, LoggedPosition(position(3), 2, "rev-3")]),)
        ),
        history(logs=(log("a", "a")._replace(releases=log("a").releases),)),
        history(logs=(SHARED._replace(changes=SHARED.changes[:1]),)),
        # Made twice; in part; more than was asked for; acknowledged as another; in spite of another position.
        history(sent(3, 1.0, ANN), logs=(changed(granting(3, ANN), granting(4, ANN, request="grant-3")),)),
        history(sent(3, 1.0, ANN, viewer("user:dee")), logs=(changed(granting(3, ANN)),)),
        history(sent(3, 1.0, ANN), logs=(changed(granting(3, ANN, viewer("user:dee"))),)),
        history(sent(3, 1.0, ANN), logs=(changed(granting(3, ANN, revoked=("user:dee",))),)),
        history(sent(3, 1.0, ANN, request="other"), logs=(changed(granting(3, ANN)),)),
        history(sent(2, 1.0, ANN, request="other", already=True), logs=(ROWS,)),
        history(sent(4, 1.0, ANN, expected=position(2)), logs=(changed(granting(3), granting(4, ANN)),)),
        # A row that has not ended yet by the store's time.
        history(logs=(changed(granting(3, CID_UNTIL_5), granting(4, ended=("user:cid",), at_s=4.9)),)),
    ],
    "P9": [
        history(asked(1.0, None)),
        history(AwayTime("one", 0.0, 2.0), asked(1.0, None)),
        history(AwayTime("two", 0.0, 2.0, runs=False), asked(1.0, None)),
    ],
    "P10": [
        history(seen(7.1, 3, 2, "user:cid", allowed=True), logs=(ROWS,)),
        history(seen(4.9, 3, 1, "user:cid", allowed=False), logs=(ROWS,)),
        # Another node's clock is wrong.
        history(ClockTime("two", 0.5, 3.0), seen(2.1, 3, 1, "user:cid", allowed=False), logs=(ROWS,)),
        # It goes wrong later.
        history(ClockTime("one", 3.0, 3.0), seen(2.1, 3, 1, "user:cid", allowed=False), logs=(ROWS,)),
    ],
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_history_that_keeps_every_promise(name: str) -> None:
    assert [] == violations(RIGHT[name], BOUND_S)


@pytest.mark.parametrize(("promise", "found"), [(promise, each) for promise, those in WRONG.items() for each in those])
def test_a_history_that_breaks_one_promise(promise: str, found: FleetHistory) -> None:
    assert {promise} == {each.promise for each in violations(found, BOUND_S)}


def test_every_promise_has_histories_that_break_it() -> None:
    assert PROMISES.keys() == WRONG.keys()


def test_a_few_violations_of_a_promise_are_shown() -> None:
    texts = [each.text for each in violations(history(*(asked(each, None) for each in range(9))), BOUND_S)]
    assert 4 == len(texts)
    assert "and 6 more" == texts[-1]


def test_how_long_news_takes_is_told_for_each_node() -> None:
    found = history(
        published(2, 1.0),
        published(3, 5.0),
        NewsTime(["one", "two"], 2.0),
        asked(3.49, position(2)),
        asked(4.0, position(3)),
    )
    one, two = caught_up_s(found, BOUND_S)
    assert pytest.approx(1.5) == one
    assert two == float("inf")
