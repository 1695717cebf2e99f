"""The revisions of policies that the audit store or this node's disk keeps."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from remit.audit.errors import AuditStoreError
from remit.audit.query.reader import AuditReader
from remit.core.names import Tenant, is_revision
from remit.policy.live import LivePolicies
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import RevisionNotStoredError, StoredRevision
from remit.policy.revisions.explainer import ArchivedPolicy
from remit.service.history import stored_archive


class RevisionsOnDisk(Protocol):
    """What this node's disk keeps."""

    def revisions(self, tenant: Tenant, /) -> Sequence[StoredRevision]: ...

    def archive(self, tenant: Tenant, revision: str, /) -> bytes | None: ...


class KeptRevisions:
    """Finds revisions by their first digits, and their archives."""

    def __init__(self, store: AuditReader, live: LivePolicies, pins: RevisionsOnDisk, limits: Limits) -> None:
        self._store = store
        self._live = live
        self._pins = pins
        self._limits = limits

    def revision(self, tenant: Tenant, text: str) -> str:
        """All digits of a revision, from its first ones; '' is the one that serves. Raises RevisionNotStoredError."""
        if is_revision(text):
            return text
        serving = self._live.get(tenant)
        serves = serving.revision if serving is not None else ""
        if not text:
            if not serves:
                raise RevisionNotStoredError(f"no revision of tenant `{tenant}` serves: name a revision")
            return serves
        known = {each.revision for each in self._pins.revisions(tenant)} | ({serves} if serves else set())
        found = sorted(each for each in known if each.startswith(text))
        if len(found) != 1:
            what = f"{len(found)} revisions" if found else "no revision"
            shown = ", ".join(each[:12] for each in sorted(known)) or "none"
            raise RevisionNotStoredError(
                f"{what} of tenant `{tenant}` on this node begin{'' if found else 's'} with `{text}`: there are {shown}; "
                "name an older one by its 64 digits"
            )
        return found[0]

    def archived(self, tenant: Tenant, revision: str) -> ArchivedPolicy:
        """Raises RevisionNotStoredError and AuditStoreError."""
        return ArchivedPolicy.read(tenant, revision, partial(self.archive, tenant), self._limits)

    def archive(self, tenant: Tenant, revision: str) -> bytes:
        """The archive in the audit store or, if the store lacks it or is away, on this node's disk. Raises as `archived`."""
        try:
            return stored_archive(self._store, tenant, revision, self._limits)
        except (RevisionNotStoredError, AuditStoreError):
            kept = self._pins.archive(tenant, revision)
            if kept is None:
                raise
            return kept
