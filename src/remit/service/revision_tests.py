"""The tests of kept revisions: each revision is tested once, beside the decisions, and its report is kept for a while."""

from typing import Final

from remit.core.names import Tenant
from remit.policy.read.limits import Limits
from remit.policy.revisions.tester import RevisionTester, RevisionTestReport
from remit.service.beside_decisions import KeptAnswers
from remit.service.kept_revisions import KeptRevisions

TEST_S: Final = 120.0
"""The longest run of a revision's tests."""


class RevisionTests:
    def __init__(self, kept: KeptRevisions, limits: Limits) -> None:
        self._revisions = kept
        self._limits = limits
        self._tester = RevisionTester()
        self._answers = KeptAnswers("remit-tests", self._report)

    def begin(self) -> None:
        self._answers.begin()

    def stop(self) -> None:
        """Aborts the tests in progress."""
        self._tester.stop()
        self._answers.stop()

    def report(self, tenant: Tenant, revision: str, timeout_s: float) -> tuple[str, RevisionTestReport]:
        """The revision in full, and its report. `revision` is as `KeptRevisions.revision` takes it.

        Raises RevisionNotStoredError, TooManyWaitingError, StillComputingError if it takes longer than `timeout_s`,
        ChildEndedError or AuditStoreError.
        """
        whole = self._revisions.revision(tenant, revision)
        # Rows of run time come and go, and the tests of the files stay the same.
        archived = self._revisions.archived(tenant, whole)
        still = f"the tests of `{whole[:12]}` still run"
        return whole, self._answers.answer(tenant, archived.files_revision, timeout_s, still)

    def _report(self, tenant: Tenant, files_revision: str) -> RevisionTestReport:
        return self._tester.report(tenant, self._revisions.archived(tenant, files_revision), self._limits, TEST_S)
