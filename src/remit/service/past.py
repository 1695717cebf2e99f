from collections.abc import Callable
from functools import partial

from remit.audit.query.reader import AuditReader
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.engine.snapshot import Snapshot
from remit.policy.live import LivePolicies
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import RevisionNotStoredError
from remit.policy.revisions.explainer import (
    AnyExplanation,
    RevisionExplainer,
    most_bytes,
    snapshot_of,
    why,
    why_unknown,
)


class Past:
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
        serving = self._live.tenants.get(tenant)
        if serving is not None and serving.snapshot is not None and serving.revision == revision:
            return why(serving.snapshot, question)
        archive = partial(stored_archive, self._store, tenant, revision, self._limits)
        return self._historian.why(tenant, revision, question, archive, timeout_s)

    def stop(self) -> None:
        """Ends the explanation that runs. Call it from any thread."""
        self._historian.stop()


def explaining_here(
    store: AuditReader, limits: Limits
) -> Callable[[Tenant, str, Question | ReachQuestion], AnyExplanation]:
    """Returns a function that explains by the store's revisions, in this process. Raises as `Past.why`."""
    loaded: dict[str, Snapshot] = {}

    def explain(tenant: Tenant, revision: str, question: Question | ReachQuestion) -> AnyExplanation:
        if not revision:
            return why_unknown(tenant, question)
        if revision not in loaded:
            archive = stored_archive(store, tenant, revision, limits)
            loaded[revision] = snapshot_of(archive, tenant, revision, limits)
        return why(loaded[revision], question)

    return explain


def stored_archive(store: AuditReader, tenant: Tenant, revision: str, limits: Limits) -> bytes:
    """The archive of a revision. Raises RevisionNotStoredError if the store does not keep it."""
    archive = store.revision(tenant, revision, most_bytes(limits))
    if archive is None:
        raise RevisionNotStoredError(f"revision `{revision}` of tenant `{tenant}` is not kept in this audit store")
    return archive
