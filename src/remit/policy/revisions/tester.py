"""Runs the tests of a stored revision, in a process of its own."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.policy.read.limits import Limits
from remit.policy.revisions.explainer import ArchivedPolicy
from remit.policy.revisions.load import load_revision
from remit.policy.testing.coverage import FileCoverage, coverage, exercised, rows_of
from remit.process.channel import ChildProcess, answer_requests
from remit.process.errors import ChildEndedError

_NICE: Final = 10


class TestedCase(NamedTuple):
    file: str
    line: int
    column: int
    test: str
    """The name of the test that the case is in."""
    asked: str
    failures: tuple[str, ...]
    """What it expected, what it got, and why; empty if it holds."""

    @property
    def place(self) -> tuple[str, int, int]:
        return self.file, self.line, self.column


@dataclass(frozen=True, slots=True)
class RevisionTestReport:
    """What the tests of a revision's files say of these files."""

    files_revision: str
    cases: tuple[TestedCase, ...]
    """By file and line."""
    coverage: tuple[FileCoverage, ...]


@dataclass(frozen=True, slots=True)
class _TestRequest:
    tenant: Tenant
    archived: ArchivedPolicy
    limits: Limits


class RevisionTester:
    """Tests one revision at a time. Its process ends with the tests, because it holds a whole policy."""

    def __init__(self) -> None:
        self._child = ChildProcess("the process that tests revisions", __name__, serve.__name__)

    def report(self, tenant: Tenant, archived: ArchivedPolicy, limits: Limits, timeout_s: float) -> RevisionTestReport:
        """Not for two threads at once. Raises RevisionNotStoredError, and ChildEndedError if it takes too long or the
        process ends."""
        late = ChildEndedError(f"the tests of `{tenant}` did not end within {timeout_s:g} s")
        found: RevisionTestReport = self._child.answer_once(_TestRequest(tenant, archived, limits), timeout_s, late)
        return found

    def stop(self) -> None:
        """Aborts the tests in progress. Thread-safe."""
        self._child.stop()


def serve(descriptor: int) -> None:
    """The process: tests until the channel closes."""
    answer_requests(descriptor, _NICE, _tested)


def _tested(asked: _TestRequest) -> RevisionTestReport:
    loaded = load_revision(asked.archived.tree(asked.tenant, asked.limits), asked.tenant, asked.limits)
    assert loaded.snapshot is not None
    failed: defaultdict[int, list[str]] = defaultdict(list)
    for failure in loaded.failures:
        failed[id(failure.case)].append("\n".join(failure.text.splitlines()[1:]))
    cases = [
        TestedCase(each.file, each.line, each.column, each.test, each.asked, tuple(failed[id(each)]))
        for each in loaded.cases
    ]
    found = coverage(rows_of(loaded.snapshot.policy), {*exercised(loaded.snapshot, loaded.cases)})
    return RevisionTestReport(
        asked.archived.files_revision, tuple(sorted(cases, key=lambda case: case.place)), tuple(found)
    )
