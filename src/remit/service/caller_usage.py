"""What callers asked, by the records of the audit, and which of it a policy of `_callers` would refuse."""

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from operator import and_
from typing import Final, NamedTuple

from remit.audit.query.aggregate import Grouping
from remit.audit.query.filter import DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.audit.record import AUDIT_READ, BINDINGS_CHANGED, POLICY_READ, LifecycleRecord
from remit.core.caller_actions import CallerAction, actions_of
from remit.core.names import CALLERS, INSTANCE, is_principal
from remit.core.policy import Policy
from remit.core.question import QuestionType
from remit.engine.snapshot import Snapshot
from remit.service.caller_rights import granted, tenants_apart
from remit.service.callers import EVERY_TENANT

ACTIONS_OF_EVENT: Final[Mapping[str, tuple[CallerAction, ...]]] = {
    AUDIT_READ: (CallerAction.AUDIT,),
    POLICY_READ: (CallerAction.READ,),
    "POLICY_PINNED": (CallerAction.PIN,),
    "POLICY_UNPINNED": (CallerAction.PIN,),
    BINDINGS_CHANGED: (CallerAction.BIND,),
}
"""The rights that a caller needed for what a lifecycle record tells, by the record's type."""
ACTIONS_OF_CALL: Final[Mapping[str, tuple[CallerAction, ...]]] = {
    "ExplainPast": (CallerAction.AUDIT, CallerAction.EXPLAIN),
    "DiffRevisions": (CallerAction.READ, CallerAction.WHO),
}
"""The rights behind the record of a read, by its `call`, where they are more than its type says."""
_GET_RECORD: Final = "GetRecord"
_PAGE: Final = 1000
_UNKNOWN: Final = "?"
"""In the place of a tenant without a folder. No tenant has this name."""


@dataclass(slots=True)
class Tally:
    count: int = 0
    first_us: int = 0
    last_us: int = 0

    def add(self, count: int, first_us: int, last_us: int) -> None:
        self.first_us = min(self.first_us, first_us) if self.count else first_us
        self.last_us = max(self.last_us, last_us)
        self.count += count


class AskedRight(NamedTuple):
    caller: str
    tenant: str
    """'' for all tenants at once."""
    action: CallerAction

    @property
    def order(self) -> tuple[str, str, int]:
        return self.caller, self.tenant, self.action.bit


def _tallies() -> defaultdict[str, Tally]:
    return defaultdict(Tally)


@dataclass(slots=True)
class CallerUsage:
    """What the audit recorded of callers."""

    asked: defaultdict[AskedRight, Tally] = field(default_factory=lambda: defaultdict(Tally))
    no_principals: defaultdict[str, Tally] = field(default_factory=_tallies)
    """By recorded caller: `anonymous`, and names from before callers were principals."""
    unknown_tenants: defaultdict[str, Tally] = field(default_factory=_tallies)
    """By caller: what was asked about tenants without a folder."""
    unrecorded: int = 0
    """Decisions that sampling left out: nobody knows what they asked."""

    def add(self, asked: AskedRight, count: int, first_us: int, last_us: int) -> None:
        of_caller: defaultdict[str, Tally] | None = None
        if not is_principal(asked.caller):
            of_caller = self.no_principals
        elif asked.tenant == _UNKNOWN:
            of_caller = self.unknown_tenants
        tally = self.asked[asked] if of_caller is None else of_caller[asked.caller]
        tally.add(count, first_us, last_us)


def read_usage(store: AuditReader, tenants: Collection[str], since_us: int | None, until_us: int) -> CallerUsage:
    """Sums up what callers asked about these tenants, hour by hour. Memory grows with callers and tenants alone."""
    usage = CallerUsage()
    where = DecisionFilter(since_us=since_us, until_us=until_us)
    known = {*tenants, INSTANCE, CALLERS}

    def named(tenant: str) -> str:
        if tenant not in known:
            return _UNKNOWN
        # Both are of kind REMIT_INSTANCE.
        return INSTANCE if tenant == CALLERS else tenant

    for each in store.each_callers_questions(where):
        for action in actions_of(QuestionType(each.question)):
            asked = AskedRight(each.caller, named(each.tenant), action)
            usage.add(asked, each.records, each.first_us, each.last_us)
    for type_ in ACTIONS_OF_EVENT:
        for record in _events(store, type_, since_us, until_us):
            caller, tenant, actions = _asked_in(record)
            about = tenant if tenant == EVERY_TENANT else named(tenant)
            for action in actions:
                usage.add(AskedRight(caller, about, action), 1, record.time_us, record.time_us)
    usage.unrecorded = sum(each.unrecorded for each in store.counts(where, [Grouping.EFFECT]))
    return usage


def _events(store: AuditReader, type_: str, since_us: int | None, until_us: int) -> Iterator[LifecycleRecord]:
    after: bytes | None = None
    while page := store.lifecycle(
        type_=type_, since_us=since_us, until_us=until_us, after=after, limit=_PAGE, newest_first=False
    ):
        yield from page
        after = page[-1].id


def _asked_in(record: LifecycleRecord) -> tuple[str, str, tuple[CallerAction, ...]]:
    detail = json.loads(record.detail)
    call, asked = detail.get("call", ""), detail.get("asked", {})
    actions = ACTIONS_OF_CALL.get(call, ACTIONS_OF_EVENT[record.type])
    tenant = record.tenant
    if not tenant and record.type == AUDIT_READ:
        if asked.get("tenant") or asked.get("filter", {}).get("tenant"):
            tenant = _UNKNOWN
        elif call == _GET_RECORD:
            # The record belonged to no tenant, or the caller may not read it.
            actions = ()
    return str(detail.get("caller", "")), tenant, actions


class Rights:
    """The rights that a policy of `_callers` gives, for callers that the audit names."""

    def __init__(self, policy: Policy) -> None:
        self.snapshot = Snapshot(policy)
        self.everywhere = (EVERY_TENANT, *tenants_apart(policy))
        self._masks: dict[tuple[str, str], int] = {}

    def mask(self, caller: str, tenant: str) -> int:
        """As bits. Of all tenants at once a caller has the rights that it has about every tenant and the instance."""
        if tenant != EVERY_TENANT:
            return self._mask(caller, tenant)
        return reduce(and_, (self._mask(caller, each) for each in self.everywhere))

    def _mask(self, caller: str, tenant: str) -> int:
        key = caller, tenant
        if key not in self._masks:
            self._masks[key] = granted(self.snapshot, *key)
        return self._masks[key]


def refused(usage: CallerUsage, rights: Rights) -> list[AskedRight]:
    """What callers asked and may not ask, in the order of callers, tenants and actions."""
    return [
        asked
        for asked in sorted(usage.asked, key=lambda asked: asked.order)
        if not rights.mask(asked.caller, asked.tenant) & asked.action.bit
    ]
