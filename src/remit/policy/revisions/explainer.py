"""Explains an answer by a revision that may no longer serve."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock
from typing import Any, Final, NamedTuple

from remit.core.explanation import Explanation, ReachExplanation
from remit.core.names import Tenant
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Link
from remit.engine.explain.access import explain, unknown_tenant
from remit.engine.explain.reach import explain_reach, unknown_tenants_reach
from remit.engine.snapshot import Snapshot
from remit.policy.read.limits import Limits
from remit.policy.read.tree import Tree
from remit.policy.revisions.archive import read_archive
from remit.policy.revisions.load import load_revision
from remit.policy.revisions.runtime_archive import RuntimeArchive, rows_behind
from remit.process.channel import ChildProcess, answer_or_error, channel_to_parent
from remit.process.errors import ChildEndedError

AnyExplanation = Explanation | ReachExplanation

_Snapshots = OrderedDict[tuple[Tenant, str], Snapshot]

_HELD: Final = 2
"""Snapshots that the process keeps, because a caller often asks again about the same revision."""
_IDLE_S: Final = 60.0
"""After this time without a question, the process drops its snapshots."""
_LEAST_S: Final = 0.001
_NICE: Final = 10


def why(snapshot: Snapshot, question: Question | ReachQuestion) -> AnyExplanation:
    """Raises MalformedQuestionError if the policy's vocabulary does not allow the question."""
    return explain(snapshot, question) if isinstance(question, Question) else explain_reach(snapshot, question)


def why_unknown(tenant: Tenant, question: Question | ReachQuestion) -> AnyExplanation:
    """The explanation if there was no such tenant."""
    if isinstance(question, Question):
        return unknown_tenant(tenant, question)
    return unknown_tenants_reach(tenant, question)


def most_bytes(limits: Limits) -> int:
    """The size limit of a revision's files: the root's and the tenant's."""
    return 2 * limits.bytes


class ArchivedPolicy(NamedTuple):
    """A revision as it is archived: files, and rows of run time beside theirs."""

    files: bytes
    """The archive of the files."""
    files_revision: str
    rows: tuple[Link, ...] = ()

    @classmethod
    def read(
        cls, tenant: Tenant, revision: str, archive_of: Callable[[str], bytes], limits: Limits
    ) -> "ArchivedPolicy":
        """`archive_of` gives the archive of a revision. Raises RevisionNotStoredError."""
        name = f"kept revision `{revision}` of tenant `{tenant}`"
        content, most = archive_of(revision), most_bytes(limits)
        archive = RuntimeArchive.read(name, content, tenant, most)
        if archive is None:
            return cls(content, revision)
        return cls(archive_of(archive.files), archive.files, rows_behind(archive, tenant, archive_of, most))

    def tree(self, tenant: Tenant, limits: Limits) -> Tree:
        """The files. Raises RevisionNotStoredError if the archive is damaged, or is of another revision."""
        name = f"kept revision `{self.files_revision}` of tenant `{tenant}`"
        return read_archive(name, self.files, tenant, self.files_revision, most_bytes(limits))


def snapshot_of(archived: ArchivedPolicy, tenant: Tenant, revision: str, limits: Limits) -> Snapshot:
    """Raises RevisionNotStoredError if the archive is damaged, is of another revision, or does not load."""
    snapshot = load_revision(archived.tree(tenant, limits), tenant, limits, tested=False).snapshot
    assert snapshot is not None
    return snapshot.changed(revision, archived.rows, ()) if archived.rows else snapshot


@dataclass(frozen=True, slots=True)
class _ExplainRequest:
    tenant: Tenant
    revision: str
    question: Question | ReachQuestion
    limits: Limits
    archive: ArchivedPolicy | None = None
    """Sent after the process asked for it."""


class _ArchiveWanted:
    """The process has no such revision: ask again, with its archive."""


class RevisionExplainer:
    """Loads past revisions in a child process, one after another, so that compiling takes no time from calls."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._mutex = Lock()
        self._child = ChildProcess("the process that loads past revisions", __name__, serve.__name__)

    def why(
        self,
        tenant: Tenant,
        revision: str,
        question: Question | ReachQuestion,
        archive: Callable[[], ArchivedPolicy],
        timeout_s: float,
    ) -> AnyExplanation:
        """The explanation of the revision's answer; `archive` returns its files, if the process needs them.

        Raises MalformedQuestionError, RevisionNotStoredError, and ChildEndedError if it takes too long or the process
        ends.
        """
        ends_at = time.monotonic() + timeout_s
        if not self._mutex.acquire(timeout=timeout_s):
            raise ChildEndedError(f"other revisions of the past have been loading for {timeout_s:g} s; try again")
        try:
            asked = _ExplainRequest(tenant, revision, question, self._limits)
            answer = self._exchange(asked, ends_at)
            if isinstance(answer, _ArchiveWanted):
                answer = self._exchange(replace(asked, archive=archive()), ends_at)
        finally:
            self._mutex.release()
        found: AnyExplanation = answer
        return found

    def stop(self) -> None:
        """Aborts the explanation in progress. Thread-safe."""
        self._child.stop()
        with self._mutex:
            self._child.close()

    def _exchange(self, asked: _ExplainRequest, ends_at: float) -> Any:
        late = ChildEndedError(f"revision `{asked.revision}` did not load in time; try again")
        return self._child.answer(asked, max(ends_at - time.monotonic(), _LEAST_S), late)


def serve(descriptor: int) -> None:
    """The process: explains until the channel closes."""
    held: _Snapshots = OrderedDict()
    with channel_to_parent(descriptor, _NICE) as channel:
        while True:
            if channel.wait(_IDLE_S):
                channel.send(answer_or_error(partial(_answer, held), channel.receive()))
            else:
                held.clear()


def _answer(held: _Snapshots, asked: _ExplainRequest) -> AnyExplanation | _ArchiveWanted:
    key = asked.tenant, asked.revision
    snapshot = held.get(key)
    if snapshot is None:
        if asked.archive is None:
            return _ArchiveWanted()
        snapshot = snapshot_of(asked.archive, asked.tenant, asked.revision, asked.limits)
        held[key] = snapshot
        if len(held) > _HELD:
            held.popitem(last=False)
    held.move_to_end(key)
    return why(snapshot, asked.question)
