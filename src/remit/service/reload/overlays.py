"""Rows of run time over the policies of files: each change makes the next snapshot from the last one."""

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from math import inf
from typing import Final, NamedTuple

from remit.core.errors import RemitError
from remit.core.names import Principal, Subject, Tenant
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow, change_of
from remit.engine.decision_diagram import TooManyDiagramsError
from remit.engine.diff.escalation import TooManyWaysError, escalations, suspended, undenied
from remit.engine.snapshot import Snapshot
from remit.fleet.binding_log import BindingLog
from remit.fleet.bindings import GrantedRow, RowKey
from remit.fleet.current_release import CurrentRelease
from remit.fleet.journal import ReleaseJournal
from remit.policy.ceiling import Ceiling, fitted, unsound
from remit.policy.revisions.runtime_archive import RuntimeArchive
from remit.service.runtime_links import RuntimeLinks

_TITLE: Final = "remit effective 1"
_SHOWN: Final = 5
_MOST_WAYS: Final = 1_000
"""Different things that changes may take away while files load; with more, all of them wait for the files."""
_WHOLE_EVERY: Final = 64
"""After so many archives one names all rows again, not only those that changed."""
_ROWS_A_STEP: Final = 1_000
_MOST_STEPS: Final = 900
"""With many rows, the one that names all comes more seldom: after as many archives as there are thousands of rows."""


class OverlayRefusedError(RemitError):
    """The rows of run time do not fit to the files: what serves goes on."""


class _Step(NamedTuple):
    """How the effective snapshot was made from another one."""

    before: str
    """The revision of the other one."""
    new: Sequence[Link]
    gone: Sequence[Link]


_NO_STEP: Final = _Step("", (), ())


@dataclass(slots=True)
class _Overlay:
    """The rows of run time of a tenant, and the snapshot that was made with them. There may be a million: what the snapshot
    holds is not held here again."""

    log: BindingLog
    hash: bytes = b""
    """Of the last change that was read."""
    pending: dict[RowKey, GrantedRow | None] = field(default_factory=dict)
    """Rows that `effective` may not have as they are now. None: the row is gone."""
    ending: dict[RowKey, GrantedRow] = field(default_factory=dict)
    """The rows of `effective` that end some time."""
    ends: list[tuple[int, RowKey]] = field(default_factory=list)
    """A heap of these ends, and of some of rows that are gone."""
    base: Snapshot | None = None
    effective: Snapshot | None = None
    count: int = 0
    """The rows that `effective` has beside those of `base`."""
    last: _Step = _NO_STEP
    archived: str = ""
    """The last revision whose archive is stored."""
    since_whole: int = 0
    """Archives since the last one that names all rows."""

    def links(self) -> Iterator[Link]:
        """The rows that `effective` has beside those of `base`."""
        links = self.effective.policy.links if self.effective is not None and self.count else ()
        return (link for link in links if not link.line)

    def onto(
        self, base: Snapshot, now_us: int
    ) -> tuple[Snapshot, int, dict[RowKey, GrantedRow], dict[RowKey, GrantedRow | None]]:
        """The snapshot that the next one is made from, its rows of run time, those of them that end, and the rows that may
        have to change."""
        if self.effective is None or self.base is None or self.base.policy is not base.policy:
            return base, 0, {}, {**self.serving(), **self.pending}
        due = {key: self.ending[key] for key in _ended(self.ends, now_us) if key in self.ending}
        return self.effective, self.count, self.ending, {**due, **self.pending}

    def end_later(self, keys: Iterable[RowKey], ending: Mapping[RowKey, GrantedRow], now_us: int) -> None:
        for key in keys:
            end_us = ending[key].row.expires_us
            assert end_us is not None
            heapq.heappush(self.ends, (end_us, key))
        while self.ends and self.ends[0][0] <= now_us:
            heapq.heappop(self.ends)

    def serving(self) -> dict[RowKey, GrantedRow]:
        """The same as they were granted."""
        found = {}
        for link in self.links():
            row = RuntimeRow(link.member, link.holds, link.scope, link.expires_us or None)
            found[RowKey.of(row)] = GrantedRow(row, change_of(link))
        return found


class Overlays:
    """The rows of run time of all tenants. Call it from one thread at a time."""

    def __init__(self, journal: ReleaseJournal, clock_us: Callable[[], int], question_rows: int) -> None:
        """`question_rows` is the limit `policy_max_question_rows`."""
        self._journal = journal
        self._clock_us = clock_us
        self._question_rows = question_rows
        self._tenants: dict[Tenant, _Overlay] = {}
        self._pending: set[Tenant] = set()
        """Those that may have pending rows. To ask each of thousands would take longer than most changes."""
        self._ending: set[Tenant] = set()
        """Those that may have rows that end."""
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
                overlay.pending = dict.fromkeys(overlay.serving())
            overlay.pending.update((RowKey.of(each.row), each) for each in new.rows)
            for each in new.changes:
                overlay.pending |= dict.fromkeys(each.change.gone)
                overlay.pending.update((RowKey.of(row), GrantedRow(row, each.seq)) for row in each.change.granted)
            overlay.hash = position.bindings.hash
            self._leave(tenant, overlay, overlay.pending)
        self._is_read = True
        self._pending = {tenant for tenant in self._pending if self._tenants[tenant].pending}
        return self._pending.copy()

    def serves(self, tenant: Tenant) -> bool:
        """Whether `over` has made a snapshot with its rows, if maybe not the newest."""
        overlay = self._tenants.get(tenant)
        return overlay is not None and overlay.effective is not None

    def is_over(self, tenant: Tenant, base: Snapshot) -> bool:
        """Whether the last snapshot of `over` was made from this one."""
        overlay = self._tenants.get(tenant)
        return overlay is not None and overlay.base is not None and overlay.base.policy is base.policy

    def over(
        self, tenant: Tenant, base: Snapshot, *, granted_over_others: bool = False, only_taking: bool = False
    ) -> Snapshot:
        """The policy of the files with the rows that count now. Raises OverlayRefusedError if they do not fit, or were never
        read; then the next call tries again.

        If rows were `granted_over_others` than these files, a row that does not fit to them is left out, and no other waits for
        it. With `only_taking`, the changes that only take away count, and all others wait. The same snapshot as before if
        nothing has changed.
        """
        if not self._is_read:
            raise OverlayRefusedError("rows of run time were not read: somebody may be suspended by one")
        overlay = self._tenants.get(tenant)
        if overlay is None:
            return base
        now_us = self._clock_us()
        before, count, ending, pending = overlay.onto(base, now_us)
        if base.policy.runtime is None:
            # No row counts. They wait for files that open them again.
            overlay.base, overlay.effective, overlay.count = base, base, 0
            overlay.ending, overlay.ends = {}, []
            self._leave(tenant, overlay, pending)
            return base
        served = RuntimeLinks(before) if count else None
        new, gone = _difference(served, pending, now_us)
        left_out: set[RowKey] = set()
        if only_taking:
            left_out = _waiting_keys(tenant, before, new, gone, now_us)
        elif granted_over_others:
            links = [_link(tenant, each) for each in new.values()]
            in_force = [each.row for each in ending.values()]
            left_out = {RowKey.of(row) for row in fitted(before, links, gone, in_force, self._question_rows)[1]}
        new, gone = _without(left_out, new, gone, now_us)
        count += len(new) - len(gone)
        as_served = _as_served(served, left_out, now_us)
        revision = _revision(base.revision, overlay.hash, count, as_served) if count or as_served else base.revision
        effective, last = before, overlay.last
        # The last change may differ although no row does: it took back what the one before it gave.
        if revision != before.revision:
            added = [_link(tenant, granted) for granted in new.values()]
            effective = _next(before, revision, added, gone)
            in_force = [each.row for key, each in ending.items() if pending.get(key, each) is not None]
            self._require_fit(before, effective, [each.row for each in new.values()], in_force)
            last = _Step(before.revision, added, gone)
        if before is base:
            effective.expect_changes()
            overlay.ends = []
        self._leave(tenant, overlay, {key: pending.pop(key) for key in left_out})
        ending = _still_ending(ending, pending, now_us)
        overlay.end_later(ending.keys() & new.keys(), ending, now_us)
        overlay.base, overlay.effective, overlay.count, overlay.last = base, effective, count, last
        overlay.ending = ending
        if overlay.ends:
            self._ending.add(tenant)
        return effective

    def archive(self, tenant: Tenant) -> RuntimeArchive | None:
        """What must be stored before the last snapshot of `over` may serve; None if that is stored, or if no row of run time
        counts, so that the files are all there is."""
        overlay = self._tenants.get(tenant)
        if overlay is None or overlay.base is None or overlay.effective is None or not overlay.count:
            return None
        if overlay.effective.revision == overlay.archived:
            return None
        files, (before, new, gone) = overlay.base.revision, overlay.last
        if before == overlay.archived and overlay.since_whole < max(
            _WHOLE_EVERY, min(overlay.count // _ROWS_A_STEP, _MOST_STEPS)
        ):
            return RuntimeArchive(files, before, tuple(new), tuple(gone))
        return RuntimeArchive(files, "", tuple(overlay.links()), ())

    def stored(self, tenant: Tenant, archive: RuntimeArchive) -> None:
        """The archive is stored: the next one may build on it."""
        overlay = self._tenants[tenant]
        assert overlay.effective is not None
        overlay.archived = overlay.effective.revision
        overlay.last = _NO_STEP
        overlay.since_whole = overlay.since_whole + 1 if archive.after else 0

    def left_out(self, tenant: Tenant) -> list[RowKey]:
        """The rows whose last change does not count yet."""
        return sorted(self._tenants[tenant].pending)

    def lifted(self, tenant: Tenant, files: Snapshot) -> Collection[Principal]:
        """Whom a row of run time denies something, and these files, with the rows that fit to them, would allow what is denied
        now. If the patterns are too many to compare, all whom a row denies something."""
        overlay = self._tenants.get(tenant)
        if overlay is None or overlay.effective is None or not (people := suspended(overlay.effective)):
            return ()
        after = files
        if files.policy.runtime is not None:
            # What other people hold changes nothing for these.
            named: set[str] = {*people}
            rows = {**overlay.serving(), **overlay.pending}.items()
            near = {key: row for key, row in rows if key.member in named or key.member.startswith("group:")}
            new, _ = _difference(None, near, self._clock_us())
            links = [_link(tenant, each) for each in new.values()]
            after, _ = fitted(files, links, (), (), self._question_rows)
        try:
            return undenied(overlay.effective, after, people)
        except TooManyDiagramsError:
            return people

    def count(self, tenant: Tenant) -> int:
        """The rows of run time that count."""
        return self._tenants[tenant].count

    def next_end_us(self) -> int | None:
        """When the next row ends, in microseconds since the Unix epoch; None if none does."""
        self._ending = {tenant for tenant in self._ending if self._tenants[tenant].ends}
        return min((self._tenants[tenant].ends[0][0] for tenant in self._ending), default=None)

    def ended(self) -> list[Tenant]:
        """The tenants with rows whose end has passed and that still serve."""
        now_us = self._clock_us()
        ends = {tenant: self._tenants[tenant].ends for tenant in self._ending}
        return [tenant for tenant, each in ends.items() if each and each[0][0] <= now_us]

    def _leave(self, tenant: Tenant, overlay: _Overlay, pending: dict[RowKey, GrantedRow | None]) -> None:
        overlay.pending = pending
        if pending:
            self._pending.add(tenant)

    def _require_fit(
        self, before: Snapshot, after: Snapshot, granted: Sequence[RuntimeRow], in_force: Sequence[RuntimeRow]
    ) -> None:
        ceiling = Ceiling(after.policy)
        found = [f"{RowKey.of(row).text}: {why}" for row in granted if (why := ceiling.closed(row))]
        found = found or [
            f"{RowKey.of(each.row).text}: {each.message}"
            for each in unsound(before, after, granted, [*in_force, *granted], self._question_rows)
        ]
        if found:
            raise OverlayRefusedError("; ".join(found[:_SHOWN]))


def _next(before: Snapshot, revision: str, added: Sequence[Link], gone: Sequence[Link]) -> Snapshot:
    policy = before.policy
    if gone or len(added) <= len(policy.links):
        return before.changed(revision, added, gone)
    # Most rows are new, as at a start: to go by the changes would take longer.
    return Snapshot(replace(policy, revision=revision, links=(*policy.links, *added)))


def _link(tenant: Tenant, granted: GrantedRow) -> Link:
    """The g row, with a name of its own. It would keep the memory alive that millions of rows took while they were read."""
    member = granted.row.member
    return granted.row.link(tenant, granted.seq, Subject(member[:1] + member[1:]))


def _difference(
    served: RuntimeLinks | None, pending: Mapping[RowKey, GrantedRow | None], now_us: int
) -> tuple[dict[RowKey, GrantedRow], list[Link]]:
    """The rows to add to those of a snapshot, which may be none, and the g rows to remove."""
    new: dict[RowKey, GrantedRow] = {}
    gone: list[Link] = []
    for key, granted in pending.items():
        link = served.get(key) if served is not None else None
        wanted = granted if granted is not None and granted.row.counts(now_us) else None
        # Two rows of one key are the same if one change granted them.
        if link is not None and (wanted is None or change_of(link) != wanted.seq):
            gone.append(link)
            link = None
        if wanted is not None and link is None:
            new[key] = wanted
    # On every node in one order, whenever it read them: g rows are explained in their order.
    return dict(sorted(new.items(), key=lambda item: (item[1].seq, item[0]))), gone


def _without(
    keys: set[RowKey], new: dict[RowKey, GrantedRow], gone: list[Link], now_us: int
) -> tuple[dict[RowKey, GrantedRow], list[Link]]:
    """The same without the changes of these rows. What has ended is gone even so."""
    if not keys:
        return new, gone
    left = {key: each for key, each in new.items() if key not in keys}
    return left, [link for link in gone if RowKey.of_link(link) not in keys or _has_ended(link, now_us)]


def _has_ended(link: Link, now_us: int) -> bool:
    return 0 < link.expires_us <= now_us


def _still_ending(
    ending: dict[RowKey, GrantedRow], changed: Mapping[RowKey, GrantedRow | None], now_us: int
) -> dict[RowKey, GrantedRow]:
    """The rows that end some time, after these rows changed."""
    for key, granted in changed.items():
        ending.pop(key, None)
        # Also a row that stays: it may have been granted for longer, or have been read again.
        if granted is not None and granted.row.expires_us is not None and granted.row.counts(now_us):
            ending[key] = granted
    return ending


def _waiting_keys(
    tenant: Tenant, before: Snapshot, new: Mapping[RowKey, GrantedRow], gone: Sequence[Link], now_us: int
) -> set[RowKey]:
    """The keys of the changes that wait, as long as only those count that take away: suspensions, rows that are gone, and rows
    that end sooner than they did. If these give somebody something, all wait."""
    runtime = before.policy.runtime
    suspend = runtime.suspend if runtime is not None else None
    old = {RowKey.of_link(link): link for link in gone}
    counts: set[RowKey] = set()
    for key in {**new, **old}:
        row, link = new[key].row if key in new else None, old.get(key)
        if row is None:
            is_less = key.holds != suspend
        elif link is None:
            is_less = key.holds == suspend
        else:
            is_less = (row.expires_us or inf) < (link.expires_us or inf) and key.holds != suspend
        if is_less:
            counts.add(key)
    # A row that ends sooner gives nothing, if what is granted anew is measured as a new row would be.
    added = [_link(tenant, new[key]) for key in counts - old.keys()]
    removed = [old[key] for key in counts - new.keys()]
    try:
        after = before.changed("", added, removed)
        gives = bool(escalations(before, after, added, removed, None, now_us=now_us, most=_MOST_WAYS))
    except (TooManyDiagramsError, TooManyWaysError):
        gives = True
    return {*new, *old} if gives else {*new, *old} - counts


def _as_served(served: RuntimeLinks | None, keys: Iterable[RowKey], now_us: int) -> list[str]:
    """Rows that are left out, as they count instead."""
    links = {key: served.get(key) if served is not None else None for key in keys}
    changes = {key: 0 if link is None or _has_ended(link, now_us) else change_of(link) for key, link in links.items()}
    return sorted(f"{key.text} {change}" for key, change in changes.items())


def _ended(ends: list[tuple[int, RowKey]], now_us: int) -> set[RowKey]:
    """The keys of the heap whose end has passed."""
    return {key for end, key in ends if end <= now_us} if ends and ends[0][0] <= now_us else set()


def _revision(files: str, hash_: bytes, count: int, left_out: Sequence[str] = ()) -> str:
    """The revision of a policy with rows of run time: of the files, the last change, the number of rows that have not ended
    since, and what is left out. Every node has the same."""
    return sha256("\n".join((_TITLE, files, hash_.hex(), str(count), *left_out)).encode()).hexdigest()
