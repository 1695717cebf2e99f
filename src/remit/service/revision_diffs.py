"""Differences between kept revisions: each pair is compared once, beside the decisions, and kept for a while."""

from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.engine.diff import TenantDiff
from remit.policy.read.limits import Limits
from remit.policy.revisions.differ import RevisionArchive, RevisionDiff, RevisionDiffer
from remit.service.beside_decisions import KeptAnswers
from remit.service.kept_revisions import KeptRevisions

COMPARE_S: Final = 120.0
"""The longest comparison."""


class _Pair(NamedTuple):
    old: str
    new: str


class RevisionDiffs:
    """Compares one pair of revisions at a time."""

    def __init__(self, kept: KeptRevisions, limits: Limits, differ: RevisionDiffer | None = None) -> None:
        self._revisions = kept
        self._limits = limits
        self._differ = RevisionDiffer() if differ is None else differ
        self._answers = KeptAnswers("remit-diffs", self._compared)

    def begin(self) -> None:
        self._answers.begin()

    def stop(self) -> None:
        """Aborts the comparison in progress."""
        self._differ.stop()
        self._answers.stop()

    def diff(self, tenant: Tenant, old: str, new: str, timeout_s: float) -> RevisionDiff:
        """`old` and `new` are revisions, their first digits, or '' for the one that serves.

        Raises RevisionNotStoredError, TooLargeError, TooManyWaitingError, StillComputingError if it takes longer than
        `timeout_s`, ChildEndedError or AuditStoreError.
        """
        pair = _Pair(self._revisions.revision(tenant, old), self._revisions.revision(tenant, new))
        if pair.old == pair.new:
            self._revisions.archived(tenant, pair.old)
            return RevisionDiff(pair.old, pair.new, TenantDiff(tenant))
        still = f"`{pair.old[:12]}` and `{pair.new[:12]}` are still being compared"
        return self._answers.answer(tenant, pair, timeout_s, still)

    def _compared(self, tenant: Tenant, pair: _Pair) -> RevisionDiff:
        old, new = (RevisionArchive(each, self._revisions.archived(tenant, each)) for each in pair)
        return self._differ.diff(tenant, old, new, self._limits, COMPARE_S)
