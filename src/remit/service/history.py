from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from remit.audit.query.reader import AuditReader
from remit.audit.query.revision_history import ServedRevision
from remit.audit.record import ChainPosition, DecisionRecord
from remit.core.errors import MalformedQuestionError, violation
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import RevisionNotStoredError
from remit.policy.revisions.explainer import (
    AnyExplanation,
    ArchivedPolicy,
    RevisionExplainer,
    most_bytes,
    snapshot_of,
    why,
    why_unknown,
)

Explain = Callable[[Tenant, str, Question | ReachQuestion], AnyExplanation]
"""Takes a tenant, a revision and a question. Returns the explanation of the answer."""

ANSWERS: Final = 8
"""The most revisions of one time that one answer reports."""


@dataclass(frozen=True, slots=True)
class PastAnswer:
    revision: str
    """Empty if the tenant did not exist."""
    nodes: tuple[ServedRevision, ...]
    """The nodes that served the revision at that time. Empty if the caller named the revision."""
    why: AnyExplanation


@dataclass(frozen=True, slots=True)
class ExplainedRecord:
    """A record, its place in its chain, and the explanation of its decision."""

    record: DecisionRecord
    place: ChainPosition
    why: AnyExplanation | None
    unexplained: str
    """Why there is no explanation; '' if there is one."""

    @property
    def agrees(self) -> bool:
        """Whether the files of the recorded revision give the recorded effect, reason and rule."""
        record = self.record
        return self.why is not None and self.why.decision.recorded == (record.effect, record.reason, record.rule)


def show(store: AuditReader, record: DecisionRecord, explain: Explain) -> ExplainedRecord:
    """Explains a record.

    Raises AuditStoreError, and the errors of `explain` if an archived policy exists and cannot be used now.
    """
    place = store.place(record.id) or ChainPosition(0, b"", 0)
    try:
        question = record.asked
        if question is None:
            unexplained = "its principal is redacted" if record.nameless else "its answer is more than one decision"
            return ExplainedRecord(record, place, None, unexplained)
        return ExplainedRecord(record, place, explain(Tenant(record.asked_tenant), record.revision, question), "")
    except MalformedQuestionError as error:
        return ExplainedRecord(record, place, None, f"what it says was asked is no question: {error}")
    except RevisionNotStoredError as error:
        return ExplainedRecord(record, place, None, str(error))


def answers_at(
    store: AuditReader,
    tenant: Tenant,
    question: Question | ReachQuestion,
    time_us: int,
    *,
    node: str,
    explain: Explain,
) -> list[PastAnswer]:
    """Answers a question by each revision that served at that time, newest first.

    With `node` set, only the revision of that node counts. Empty if no node served the tenant. Raises
    MalformedQuestionError, RevisionNotStoredError, and the errors of `show`.
    """
    by_revision: defaultdict[str, list[ServedRevision]] = defaultdict(list)
    for served in store.serving(tenant, time_us, node or None):
        by_revision[served.revision].append(served)
    if len(by_revision) > ANSWERS:
        raise violation("node", f"is missing: {len(by_revision)} revisions served at that time")
    return [
        PastAnswer(revision, tuple(nodes), explain(tenant, revision, question))
        for revision, nodes in by_revision.items()
    ]


class PastExplainer:
    """Explains a decision by any revision that serves or that the audit store keeps."""

    def __init__(self, store: AuditReader, live: LivePolicies, limits: Limits) -> None:
        self._store = store
        self._live = live
        self._limits = limits
        self._historian = RevisionExplainer(limits)

    def why(
        self, tenant: Tenant, revision: str, question: Question | ReachQuestion, timeout_s: float
    ) -> AnyExplanation:
        """Explains the answer of a revision. '' is the revision of a tenant that does not exist.

        Raises MalformedQuestionError, RevisionNotStoredError, ChildEndedError or AuditStoreError.
        """
        if not revision:
            return why_unknown(tenant, question)
        serving = self._live.get(tenant)
        if serving is not None and serving.snapshot is not None and serving.revision == revision:
            return why(serving.snapshot, question)
        archive = partial(archived_policy, self._store, tenant, revision, self._limits)
        return self._historian.why(tenant, revision, question, archive, timeout_s)

    def stop(self) -> None:
        """Ends the explanation that runs. Call it from any thread."""
        self._historian.stop()


def explaining_here(
    store: AuditReader, limits: Limits
) -> Callable[[Tenant, str, Question | ReachQuestion], AnyExplanation]:
    """Returns a function that explains by the store's revisions, in this process. Raises as `PastExplainer.why`."""
    loaded: dict[tuple[Tenant, str], Snapshot] = {}

    def explain(tenant: Tenant, revision: str, question: Question | ReachQuestion) -> AnyExplanation:
        if not revision:
            return why_unknown(tenant, question)
        snapshot = loaded.get((tenant, revision))
        if snapshot is None:
            archive = archived_policy(store, tenant, revision, limits)
            snapshot = loaded[tenant, revision] = snapshot_of(archive, tenant, revision, limits)
        return why(snapshot, question)

    return explain


def archived_policy(store: AuditReader, tenant: Tenant, revision: str, limits: Limits) -> ArchivedPolicy:
    """Raises RevisionNotStoredError if the store does not keep the revision, or one on which it builds."""
    return ArchivedPolicy.read(tenant, revision, lambda wanted: stored_archive(store, tenant, wanted, limits), limits)


def stored_archive(store: AuditReader, tenant: Tenant, revision: str, limits: Limits) -> bytes:
    """The archive of a revision. Raises RevisionNotStoredError if the store does not keep it."""
    archive = store.revision(tenant, revision, most_bytes(limits))
    if archive is None:
        raise RevisionNotStoredError(f"revision `{revision}` of tenant `{tenant}` is not kept in this audit store")
    return archive
