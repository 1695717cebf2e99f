"""The candidate with the rows of run time that counted when a decision was made."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.core.rows import Link
from remit.engine.snapshot import Snapshot
from remit.policy.ceiling import fitted
from remit.policy.read.limits import Limits
from remit.policy.revisions.archive import RevisionNotStoredError
from remit.policy.revisions.explainer import most_bytes
from remit.policy.revisions.runtime_archive import RuntimeArchive, archives_behind

_HELD: Final = 256
"""Snapshots with rows of run time that are held, because the next revision builds on one of them."""


class _Overlaid(NamedTuple):
    snapshot: Snapshot
    left_out: tuple[Link, ...] = ()
    """Rows that do not fit to the candidate's files, and may fit without others."""


@dataclass(slots=True)
class PastRows:
    """Makes the candidate's snapshots with the rows of run time of recorded revisions. A row that the candidate does not open
    does not count, as if it were published."""

    archive_of: Callable[[Tenant, str], bytes]
    """Gives the archive of a revision, or raises RevisionNotStoredError."""
    limits: Limits
    _overlaid: OrderedDict[tuple[Tenant, str], _Overlaid] = field(default_factory=OrderedDict)
    _without: set[tuple[Tenant, str]] = field(default_factory=set)
    """Revisions without rows of run time."""
    _unknown: set[tuple[Tenant, str]] = field(default_factory=set)

    def try_again(self) -> None:
        """From now on, asks again for what was not stored."""
        self._unknown.clear()

    def over(self, candidate: Snapshot, revision: str) -> Snapshot | None:
        """The candidate with the rows of a revision; None if they are not known."""
        key = candidate.tenant, revision
        if not revision or key in self._without:
            return candidate
        if key in self._unknown:
            return None
        if key not in self._overlaid:
            try:
                self._overlay(candidate, revision)
            except RevisionNotStoredError:
                self._unknown.add(key)
                return None
            if key in self._without:
                return candidate
        self._overlaid.move_to_end(key)
        return self._overlaid[key].snapshot

    def _overlay(self, candidate: Snapshot, revision: str) -> None:
        tenant, most = candidate.tenant, most_bytes(self.limits)
        known = {of for name, of in self._overlaid if name == tenant}
        content = self.archive_of(tenant, revision)
        first = RuntimeArchive.read(f"kept revision `{revision}` of tenant `{tenant}`", content, tenant, most)
        if first is None:
            self._without.add((tenant, revision))
            return
        chain = archives_behind(first, tenant, lambda wanted: self.archive_of(tenant, wanted), most, known)
        after = chain[-1].after
        found = self._overlaid[tenant, after] if after else _Overlaid(candidate)
        for each in reversed(chain):
            found = self._next(found, each)
        self._overlaid[tenant, revision] = found
        if len(self._overlaid) > _HELD:
            self._overlaid.popitem(last=False)

    def _next(self, before: _Overlaid, archive: RuntimeArchive) -> _Overlaid:
        links_of = before.snapshot.graph.links_of
        gone = [link for link in archive.removed if link in links_of(link.member)]
        new = [*(link for link in before.left_out if link not in archive.removed), *archive.added]
        after, unfit = fitted(before.snapshot, new, gone, (), self.limits.question_rows)
        keys = {(row.member, row.holds, row.scope) for row in unfit}
        return _Overlaid(after, tuple(link for link in new if (link.member, link.holds, link.scope) in keys))
