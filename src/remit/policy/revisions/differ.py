"""Compares two stored revisions of a tenant, in a process of its own."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.core.rows import Link, ReachRule, Rule
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff import TenantDiff, changed_rows, diff
from remit.engine.inquiry import TooLargeError
from remit.policy.read.limits import Limits
from remit.policy.revisions.explainer import ArchivedPolicy, snapshot_of
from remit.process.channel import ChildProcess, answer_requests

NAMES_LIMIT: Final = 10_000
"""Principals and patterns that a diff may name."""
ROWS_LIMIT: Final = 1_000
"""Rows that a diff shows. Of more it gives the number."""
_NICE: Final = 10

AnyRow = Rule | Link | ReachRule


class RevisionArchive(NamedTuple):
    revision: str
    archive: ArchivedPolicy


@dataclass(frozen=True, slots=True)
class RevisionDiff:
    old: str
    new: str
    found: TenantDiff
    added: tuple[AnyRow, ...] = ()
    """The rows that only the new revision has, by file and line; none if there are more than ROWS_LIMIT."""
    removed: tuple[AnyRow, ...] = ()


@dataclass(frozen=True, slots=True)
class _DiffRequest:
    tenant: Tenant
    old: RevisionArchive
    new: RevisionArchive
    limits: Limits


class RevisionDiffer:
    """One comparison at a time. Its process ends with it, because it holds two whole policies."""

    def __init__(self) -> None:
        self._child = ChildProcess("the process that compares revisions", __name__, serve.__name__)

    def diff(
        self, tenant: Tenant, old: RevisionArchive, new: RevisionArchive, limits: Limits, timeout_s: float
    ) -> RevisionDiff:
        """Not for two threads at once. Raises RevisionNotStoredError, TooLargeError, and ChildEndedError if it takes too
        long or the process ends."""
        late = TooLargeError(
            f"`{old.revision[:12]}` and `{new.revision[:12]}` were not compared within {timeout_s:g} s"
        )
        found: RevisionDiff = self._child.answer_once(_DiffRequest(tenant, old, new, limits), timeout_s, late)
        return found

    def stop(self) -> None:
        """Aborts the comparison in progress. Thread-safe."""
        self._child.stop()


def serve(descriptor: int) -> None:
    """The process: compares until the channel closes."""
    answer_requests(descriptor, _NICE, _compared)


def _compared(asked: _DiffRequest) -> RevisionDiff:
    old, new = (snapshot_of(each.archive, asked.tenant, each.revision, asked.limits) for each in (asked.old, asked.new))
    try:
        found = diff(asked.tenant, old, new)
    except TooManyDiagramsError as error:
        raise TooLargeError(str(error)) from None
    names = found.names
    if names > NAMES_LIMIT:
        raise TooLargeError(
            f"the answer would hold {names} names: at most {NAMES_LIMIT} are sent; compare revisions "
            "between these two, or the policy files with `remit diff`"
        )
    added, removed = changed_rows(old, new)
    shown = [rows if len(rows) <= ROWS_LIMIT else () for rows in (added, removed)]
    return RevisionDiff(asked.old.revision, asked.new.revision, found, *shown)
