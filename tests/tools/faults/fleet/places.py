"""What positions stand for, by the logs of a policy store: a second opinion, which shares no code with the store."""

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Final

from remit.core.position import Position

from .history import LoggedPosition, RowName, StoreLog

SUSPENDED: Final = "group:suspended"
"""A group that may do nothing. Every other group or role that a row gives allows what callers ask."""
NOBODY: Final[frozenset[str]] = frozenset()
_TITLE: Final = "remit effective 1"

Rows = Mapping[RowName, int | None]
"""The ends of the rows of run time, expired ones too; None for a row without one."""


class Places:
    """Where positions are: in which logs, and what they stand for."""

    def __init__(self, logs: Sequence[StoreLog], allowed: Mapping[str, frozenset[str]]) -> None:
        self._logs_of: dict[Position, frozenset[int]] = {}
        self._allowed = allowed
        self._before: dict[Position, Rows] = {}
        self._after: dict[Position, Rows] = {}
        self._hashes: dict[Position, str] = {}
        self.change: dict[Position, LoggedPosition] = {}
        for number, log in enumerate(logs):
            self._read(number, log)
        self.last = len(logs) - 1

    def logs_of(self, position: Position) -> frozenset[int]:
        return self._logs_of.get(position, frozenset())

    def holds(self, position: Position) -> bool:
        """Whether the last log has it."""
        return self.last in self.logs_of(position)

    def shared(self, position: Position) -> int:
        """Up to which change of the last log a node at this position knows all."""
        if self.holds(position):
            return position.seq
        logs = self.logs_of(position)
        same = (
            each.seq
            for each in self.change
            if each.tenant == position.tenant and self.holds(each) and self.logs_of(each) & logs
        )
        return max(same, default=0)

    def follows(self, later: Position, earlier: Position) -> bool:
        """Whether `later` knows of all that `earlier` knows of."""
        if later.tenant != earlier.tenant:
            return False
        return later.seq >= earlier.seq and bool(self.logs_of(later) & self.logs_of(earlier))

    def replaces(self, later: Position, earlier: Position) -> bool:
        """Whether `later` is of a history that came after the one of `earlier`."""
        return max(self.logs_of(later), default=-1) > max(self.logs_of(earlier), default=-1)

    def rows_before(self, position: Position) -> Rows:
        """The rows that the change at this position changed."""
        return self._before[position]

    def rows(self, position: Position) -> Rows:
        """The rows from this position on."""
        return self._after[position]

    def allows(self, position: Position, principal: str, time_us: float) -> bool:
        """What the files and the rows say at a time."""
        held = {
            holds
            for (member, holds), end in self.rows(position).items()
            if member == principal and _counts(end, time_us)
        }
        by_files = principal in self._allowed.get(self.change[position].revision, NOBODY)
        return SUSPENDED not in held and (by_files or bool(held))

    def revision(self, position: Position, time_us: float) -> str:
        """The files alone have theirs; with rows it is of the files, the last change and the number of rows that count."""
        files, count = (
            self.change[position].revision,
            sum(_counts(end, time_us) for end in self.rows(position).values()),
        )
        if not count:
            return files
        return sha256(f"{_TITLE}\n{files}\n{self._hashes[position]}\n{count}".encode()).hexdigest()

    def newer_files(self, position: Position) -> bool:
        """Whether a log goes on from this position to other files. Until they serve, what was taken away since counts too."""
        return any(change.rows is None for change in self._later(position))

    def may_lose(self, position: Position, principal: str) -> bool:
        """Whether a log goes on from this position to a change that takes something away from the principal."""
        for change in self._later(position):
            if change.rows is None:
                continue
            gone = {member for member, _ in change.rows.revoked}
            less = {each.member for each in change.rows.granted if each.holds == SUSPENDED or each.expires_us}
            if principal in gone | less:
                return True
        return False

    def _later(self, position: Position) -> Iterator[LoggedPosition]:
        return (change for later, change in self.change.items() if later != position and self.follows(later, position))

    def turns(self, position: Position) -> Iterator[int]:
        """When rows end."""
        return (end for end in self.rows(position).values() if end is not None)

    def _read(self, number: int, log: StoreLog) -> None:
        rows: dict[str, Rows] = {}
        hashes: dict[str, str] = {}
        for change in log.changes:
            position, tenant = change.position, change.position.tenant
            self._logs_of[position] = self.logs_of(position) | {number}
            self.change[position] = change
            self._before[position] = rows.setdefault(tenant, {})
            if change.rows is not None:
                gone = {*change.rows.revoked, *change.rows.ended}
                left = {key: end for key, end in rows[tenant].items() if key not in gone}
                rows[tenant] = left | {each.key: each.expires_us for each in change.rows.granted}
                hashes[tenant] = change.rows.hash
            self._after[position] = rows[tenant]
            self._hashes[position] = hashes.get(tenant, "")


def _counts(end: int | None, time_us: float) -> bool:
    return end is None or time_us < end
