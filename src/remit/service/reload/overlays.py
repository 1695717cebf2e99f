"""Rows of run time over the policies of files: each change makes the next snapshot from the last one."""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final, NamedTuple

from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.core.policy import Policy
from remit.core.rows import Link
from remit.engine.snapshot import Snapshot
from remit.fleet.binding_log import BindingLog
from remit.fleet.bindings import GrantedRow, RowKey, apply
from remit.fleet.current_release import CurrentRelease
from remit.fleet.journal import ReleaseJournal
from remit.policy.ceiling import closed, unsound
from remit.policy.revisions.runtime_archive import RuntimeArchive

_TITLE: Final = "remit effective 1"
_SHOWN: Final = 5
_WHOLE_EVERY: Final = 64
"""After so many archives one names all rows again, not only those that changed."""


class OverlayRefusedError(RemitError):
    """The rows of run time do not fit to the files: what serves goes on."""


class _Step(NamedTuple):
    """How the effective snapshot was made from another one."""

    before: str
    """The revision of the other one."""
    new: Mapping[RowKey, Link]
    gone: Mapping[RowKey, Link]


_NO_STEP: Final = _Step("", {}, {})


@dataclass(slots=True)
class _Overlay:
    """The rows of run time of a tenant, and the snapshot that was made with them."""

    log: BindingLog
    rows: dict[RowKey, GrantedRow] = field(default_factory=dict)
    hash: bytes = b""
    """Of the last change that was read."""
    stale: set[RowKey] = field(default_factory=set)
    """Rows that `links` may not have as they are now."""
    ends: list[tuple[int, RowKey]] = field(default_factory=list)
    """A heap of the ends of rows that are in `links`."""
    base: Snapshot | None = None
    links: dict[RowKey, Link] = field(default_factory=dict)
    """The rows that `effective` has beside those of `base`."""
    effective: Snapshot | None = None
    last: _Step = _NO_STEP
    archived: str = ""
    """The last revision whose archive is stored."""
    since_whole: int = 0
    """Archives since the last one that names all rows."""


class Overlays:
    """The rows of run time of all tenants. Call it from one thread at a time."""

    def __init__(self, journal: ReleaseJournal, clock_us: Callable[[], int], question_rows: int) -> None:
        """`question_rows` is the limit `policy_max_question_rows`."""
        self._journal = journal
        self._clock_us = clock_us
        self._question_rows = question_rows
        self._tenants: dict[Tenant, _Overlay] = {}
        self._is_read = False

    def read(self, release: CurrentRelease, tenants: Iterable[Tenant] | None = None) -> set[Tenant]:
        """Reads what is new of these tenants, or of all, up to the heads of the release. Returns the tenants whose rows
        differ from those of `over`.

        Raises OSError, and ValueError if rows were lost; then the next call goes on.
        """
        for tenant in release.tenants if tenants is None else tenants:
            position = release.tenants[tenant]
            overlay = self._tenants.get(tenant)
            if overlay is None:
                overlay = self._tenants[tenant] = _Overlay(self._journal.binding_log(tenant))
            new = overlay.log.read(position.bindings)
            if new.anew:
                overlay.stale |= overlay.rows.keys()
                overlay.rows.clear()
                overlay.hash = b""
            for each in new.changes:
                overlay.stale |= {*each.change.revoked, *each.change.ended, *map(RowKey.of, each.change.granted)}
                apply(overlay.rows, each.seq, each.change)
                overlay.hash = each.hash
        self._is_read = True
        return {tenant for tenant, overlay in self._tenants.items() if overlay.stale}

    def knows(self, tenant: Tenant) -> bool:
        """Whether its rows were read, if maybe not the newest."""
        return tenant in self._tenants

    def is_over(self, tenant: Tenant, base: Snapshot) -> bool:
        """Whether the last snapshot of `over` was made from this one."""
        overlay = self._tenants.get(tenant)
        return overlay is not None and overlay.base is not None and overlay.base.policy is base.policy

    def over(self, tenant: Tenant, base: Snapshot) -> Snapshot:
        """The policy of the files with the rows that count now. Raises OverlayRefusedError if they do not fit, or were never
        read; then the next call tries again.

        The same snapshot as before if nothing has changed.
        """
        if not self._is_read:
            raise OverlayRefusedError("rows of run time were not read: somebody may be suspended by one")
        overlay = self._tenants.get(tenant)
        if overlay is None:
            return base
        now_us = self._clock_us()
        if overlay.effective is None or overlay.base is None or overlay.base.policy is not base.policy:
            before, links, due = base, dict[RowKey, Link](), {*overlay.rows}
        else:
            before, links, due = overlay.effective, overlay.links, overlay.stale | _ended(overlay.ends, now_us)
        wanted = _wanted(overlay.rows, base.policy, due, now_us)
        new = {key: link for key, link in wanted.items() if _place(links, key) != link.place}
        gone = {key: link for key in due if (link := links.get(key)) is not None and _place(wanted, key) != link.place}
        count = len(links) - len(gone) + len(new)
        revision = _revision(base.revision, overlay.hash, count) if count else base.revision
        effective = before
        # The last change may differ although no row does: it took back what the one before it gave.
        if revision != before.revision:
            effective = before.changed(revision, new.values(), gone.values())
            self._require_fit(overlay, before, effective, new)
            overlay.last = _Step(before.revision, new, gone)
        if before is base and base.policy.runtime is not None:
            effective.expect_changes()
        for key in gone:
            del links[key]
        links |= new
        for key in new:
            end = overlay.rows[key].row.expires_us
            if end is not None:
                heapq.heappush(overlay.ends, (end, key))
        while overlay.ends and overlay.ends[0][0] <= now_us:
            heapq.heappop(overlay.ends)
        overlay.base, overlay.links, overlay.effective = base, links, effective
        overlay.stale.clear()
        return effective

    def archive(self, tenant: Tenant) -> RuntimeArchive | None:
        """What must be stored before the last snapshot of `over` may serve; None if that is stored, or if no row of run time
        counts, so that the files are all there is."""
        overlay = self._tenants.get(tenant)
        if overlay is None or overlay.base is None or overlay.effective is None or not overlay.links:
            return None
        if overlay.effective.revision == overlay.archived:
            return None
        files, (before, new, gone) = overlay.base.revision, overlay.last
        if before == overlay.archived and overlay.since_whole < _WHOLE_EVERY:
            return RuntimeArchive(files, before, tuple(new.values()), tuple(gone.values()))
        return RuntimeArchive(files, "", tuple(overlay.links.values()), ())

    def stored(self, tenant: Tenant, archive: RuntimeArchive) -> None:
        """The archive is stored: the next one may build on it."""
        overlay = self._tenants[tenant]
        assert overlay.effective is not None
        overlay.archived = overlay.effective.revision
        overlay.since_whole = overlay.since_whole + 1 if archive.after else 0

    def count(self, tenant: Tenant) -> int:
        """The rows of run time that count."""
        return len(self._tenants[tenant].links)

    def next_end_us(self) -> int | None:
        """When the next row ends, in microseconds since the Unix epoch; None if none does."""
        return min((overlay.ends[0][0] for overlay in self._tenants.values() if overlay.ends), default=None)

    def ended(self) -> list[Tenant]:
        """The tenants with rows whose end has passed and that still serve."""
        now_us = self._clock_us()
        return [tenant for tenant, each in self._tenants.items() if each.ends and each.ends[0][0] <= now_us]

    def _require_fit(self, overlay: _Overlay, before: Snapshot, after: Snapshot, keys: Iterable[RowKey]) -> None:
        granted = [overlay.rows[key].row for key in keys]
        found = [f"{row.member}, {row.holds}: {why}" for row in granted if (why := closed(after.policy, row))]
        in_force = [each.row for each in overlay.rows.values()]
        found = found or [
            f"{each.row.member}, {each.row.holds}: {each.message}"
            for each in unsound(before, after, granted, in_force, self._question_rows)
        ]
        if found:
            raise OverlayRefusedError("; ".join(found[:_SHOWN]))


def _place(links: Mapping[RowKey, Link], key: RowKey) -> str:
    """Two links of one key are the same if one change granted them."""
    link = links.get(key)
    return link.place if link is not None else ""


def _wanted(
    rows: Mapping[RowKey, GrantedRow], policy: Policy, keys: Iterable[RowKey], now_us: int
) -> dict[RowKey, Link]:
    """The g rows of these keys that count."""
    if policy.runtime is None:
        return {}
    return {
        key: granted.row.link(policy.tenant, granted.seq)
        for key in keys
        if (granted := rows.get(key)) is not None and granted.row.counts(now_us)
    }


def _ended(ends: list[tuple[int, RowKey]], now_us: int) -> set[RowKey]:
    """The keys of the heap whose end has passed."""
    return {key for end, key in ends if end <= now_us} if ends and ends[0][0] <= now_us else set()


def _revision(files: str, hash_: bytes, count: int) -> str:
    """The revision of a policy with rows of run time: of the files, the last change, and the number of rows that have not
    ended since. Every node has the same."""
    return sha256("\n".join((_TITLE, files, hash_.hex(), str(count))).encode()).hexdigest()
