"""Decides recorded questions again by another policy."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field
from operator import add

from remit.audit.record import DecisionRecord
from remit.core.decision import Decision, Reason
from remit.core.errors import MalformedQuestionError
from remit.core.names import Tenant
from remit.core.question import ReachQuestion
from remit.core.rows import Effect
from remit.engine.snapshot import Snapshot
from remit.service.shadow.past_rows import PastRows

MALFORMED = "malformed"
"""Stands for an effect if the question is malformed for the other policy's vocabulary."""
_TENANTS = 1_000


@dataclass(slots=True)
class ReplayedChange:
    """A question whose answer would differ. Records of the same question and answer are one change."""

    tenant: str
    principal: str
    action: str
    kind: str
    namespace: str
    was: tuple[str, str]
    """The recorded effect and reason."""
    now: tuple[str, str]
    rule: str
    """File and line of the row that would decide."""
    records: int = 0
    last: bytes = b""
    """The id of the newest record."""

    @property
    def gains(self) -> bool:
        return self.now[0] == Effect.ALLOW


@dataclass(slots=True)
class Counts:
    decided: int = 0
    differing: int = 0
    """Records for which the candidate decides another effect."""
    skipped: int = 0
    """Records of answers that are not a single decision, and of tenants whose files do not load."""
    rows_unknown: int = 0
    """Records of revisions whose rows of run time are not known: they are not decided."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*map(add, astuple(self), astuple(other)))


@dataclass(slots=True)
class Replay:
    """Puts records to a candidate, one after another."""

    candidate: Mapping[Tenant, Snapshot | None]
    """None for a tenant whose files do not load: its records are skipped."""
    rows: PastRows
    """The rows of run time of the records' revisions."""
    most: int | None = None
    """The most distinct changes; records of further ones are only counted. None means no limit."""
    redact: Callable[[DecisionRecord], DecisionRecord] = lambda record: record
    """Maps a record to what a change shows of it."""
    redacted: int = 0
    """Records that do not name their principal."""
    tenants: dict[str, Counts] = field(default_factory=dict)
    """By tenant; all tenants beyond `_TENANTS` together, as ''."""
    _changes: dict[tuple[str, ...], ReplayedChange] = field(default_factory=dict)

    def run(self, records: Iterable[DecisionRecord]) -> "Replay":
        self.rows.try_again()
        for record in records:
            self.put(record)
        return self

    def put(self, record: DecisionRecord) -> None:
        if record.nameless:
            self.redacted += 1
            return
        question = record.asked
        tenant = Tenant(record.asked_tenant)
        snapshot = self.candidate.get(tenant)
        if question is None or (snapshot is None and tenant in self.candidate):
            self._counts(tenant).skipped += 1
            return
        if snapshot is not None and not isinstance(question, ReachQuestion):
            snapshot = self.rows.over(snapshot, record.revision)
            if snapshot is None:
                self._counts(tenant).rows_unknown += 1
                return
        self._counts(tenant).decided += 1
        try:
            decision = Decision(Effect.DENY, Reason.UNKNOWN_TENANT) if snapshot is None else snapshot.answer(question)
            now = decision.recorded
        except MalformedQuestionError as error:
            now = (MALFORMED, str(error), "")
        if now[0] == record.effect:
            return
        self._counts(tenant).differing += 1
        record = self.redact(record)
        columns = (record.asked_tenant, record.principal, record.action, record.kind, record.namespace)
        key = (*columns, record.effect, record.reason)
        change = self._changes.get(key)
        if change is None and len(self._changes) == self.most:
            return
        if change is None:
            change = self._changes[key] = ReplayedChange(
                *columns, (record.effect, record.reason), (now[0], now[1]), now[2]
            )
        change.records += 1
        change.last = max(change.last, record.id)

    def _counts(self, tenant: str) -> Counts:
        # A caller may ask about any tenant name.
        if tenant not in self.tenants and len(self.tenants) >= _TENANTS:
            tenant = ""
        return self.tenants.setdefault(tenant, Counts())

    @property
    def total(self) -> Counts:
        return sum(self.tenants.values(), Counts())

    @property
    def changes(self) -> list[ReplayedChange]:
        """Gains first, then by the number of records, descending."""
        found = self._changes.values()
        return sorted(found, key=lambda each: (not each.gains, -each.records, each.tenant, each.principal))
