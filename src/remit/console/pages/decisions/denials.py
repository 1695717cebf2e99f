from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import median
from typing import Final

from remit.client import RecordFilter
from remit.console.cells import Cell, Table, code, number, plain, tenant_link, time, time_text
from remit.console.drawing.bars import Bar, bars
from remit.console.view import View, WebPage
from remit.console.visit import Visit
from remit.v1 import audit_service_pb2 as messages

_HOUR_US: Final = 3_600_000_000
_WEEK_HOURS: Final = 7 * 24
_HOURS: Final = ("24", "72", "168")
_TOP: Final = 10
_GROUPS: Final = 20_000
_ONE: Final = frozenset({1})


def _most_denials(column: str, title: str) -> Table:
    note = f"Explanations count here too: the server does not count {column}s by question."
    return Table(f"{column}s", title, (column, "denials"), (), "No denial.", numbers=_ONE, note=note)


_PRINCIPALS: Final = _most_denials("principal", "Most denied principals")
_CALLERS: Final = _most_denials("caller", "Callers with most denials")
_LOUD: Final = 3
"""An hour with so many times the denials of that hour of the day is marked."""
_ASKED_BY_PEOPLE: Final = frozenset({"EXPLAIN", "REACH_EXPLAIN", "MATRIX"})
"""Questions that enforce nothing."""


async def show(visit: Visit) -> View:
    """Denials over time, by reason, and by who met them."""
    hours = int(visit.choice("hours", _HOURS))
    now_us = visit.now_us - visit.now_us % _HOUR_US
    since_us = now_us - (hours - 1) * _HOUR_US
    where = RecordFilter(tenant=visit.tenant, effect="deny", since_us=since_us)
    before = RecordFilter(tenant=visit.tenant, effect="deny", since_us=since_us - _WEEK_HOURS * _HOUR_US)
    by_hour = _by_hour(await visit.some(visit.client.count_records(before, ("hour", "question")), _GROUPS))
    reasons = await visit.some(visit.client.count_records(where, ("reason", "question")), _GROUPS)
    principals = await visit.some(
        visit.client.count_records(where, ("principal",), most_first=True, page_size=_TOP), _TOP
    )
    callers = await visit.some(visit.client.count_records(where, ("caller",), most_first=True, page_size=_TOP), _TOP)
    drawn = [_bar(visit.tenant, each, by_hour) for each in range(since_us, now_us + 1, _HOUR_US)]
    loud = [each for each in drawn if each.loud]
    tables = [
        Table(
            "hours",
            "By hour",
            ("hour", "denials", "usual for that hour", "note"),
            [
                [
                    time(each.start_us, each.href),
                    number(each.denials),
                    number(int(each.usual)),
                    plain("LOUD" if each.loud else ""),
                ]
                for each in reversed(drawn)
                if each.denials or visit.whole
            ],
            "No denial.",
            numbers=frozenset({1, 2}),
        ),
        Table(
            "reasons",
            "By reason",
            ("reason", "denials"),
            _reasons(visit.tenant, hours, reasons),
            "No denial.",
            numbers=_ONE,
        ),
        _top(visit, _PRINCIPALS, "p", ((each.principal, each) for each in principals), hours),
        _top(visit, _CALLERS, "caller", ((each.caller, each) for each in callers), hours),
    ]
    return View(
        f"Denials in {visit.tenant}",
        ("audit", "count", "--tenant", visit.tenant, "--effect", "deny", "--since", f"{hours}h", "--by", "hour"),
        tables,
        "denials.html",
        {
            "picture": bars(drawn, f"Denials by hour, the last {hours} hours")
            if any(each.denials for each in drawn)
            else "",
            "hours": hours,
            "known_hours": _HOURS,
            "nothing": "" if any(each.denials for each in drawn) else await visit.unknown(),
            "total": sum(each.denials for each in drawn),
            "loud": [time_text(each.start_us) for each in loud],
            "pages": {each: tenant_link(visit.tenant, "denials", hours=each) for each in _HOURS},
        },
    )


def _by_hour(counts: Iterable[messages.RecordCount]) -> Mapping[int, int]:
    found: Counter[int] = Counter()
    for each in counts:
        if each.question not in _ASKED_BY_PEOPLE:
            found[each.from_us] += each.recorded + each.unrecorded
    return found


def _bar(tenant: str, start_us: int, by_hour: Mapping[int, int]) -> Bar:
    usual = median(by_hour.get(start_us - days * 24 * _HOUR_US, 0) for days in range(1, 8))
    count = by_hour.get(start_us, 0)
    until = time_text(start_us + _HOUR_US).replace(" ", "T")
    href = tenant_link(tenant, "decisions", effect="deny", since=time_text(start_us).replace(" ", "T"), until=until)
    return Bar(start_us, count, usual, loud=count > _LOUD * usual and usual > 0, href=href)


def _reasons(tenant: str, hours: int, counts: Iterable[messages.RecordCount]) -> list[list[Cell]]:
    found: Counter[str] = Counter()
    for each in counts:
        if each.question not in _ASKED_BY_PEOPLE:
            found[each.reason] += each.recorded + each.unrecorded
    return [
        [code(reason, tenant_link(tenant, "decisions", effect="deny", reason=reason, since=f"{hours}h")), number(count)]
        for reason, count in found.most_common()
    ]


def _top(
    visit: Visit, table: Table, input_name: str, counted: Iterable[tuple[str, messages.RecordCount]], hours: int
) -> Table:
    """The table, filled with whom the counts are of."""
    since = f"{hours}h"
    rows = [
        [
            code(who, tenant_link(visit.tenant, "decisions", **{input_name: who}, effect="deny", since=since)),
            number(each.recorded + each.unrecorded),
        ]
        for who, each in counted
    ]
    return replace(table, rows=rows)


PAGE: Final = WebPage("denials", "/t/{tenant}/denials", "Denials", show, "Audit")
