"""What a change does to the rows of run time that are in force."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from remit.core.rows import Link
from remit.core.runtime import RuntimeRow
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey


class BindingWork(NamedTuple):
    """What a change adds to the rows that are in force, and what it takes away."""

    granted: Sequence[RuntimeRow]
    added: Sequence[Link]
    removed: dict[RowKey, Link | None]
    """Revoked, or granted anew with another end. None if this node's clock says that the row has ended."""
    ended: tuple[RowKey, ...]
    ending: Mapping[RowKey, GrantedRow]
    """The rows that end some time."""
    already: Sequence[RowKey] = ()

    @property
    def only_removed(self) -> list[Link]:
        again = {RowKey.of(row) for row in self.granted}
        return [link for key, link in self.removed.items() if link is not None and key not in again]

    @property
    def only_removed_keys(self) -> list[RowKey]:
        again = {RowKey.of(row) for row in self.granted if self.removed}
        return [key for key in self.removed if key not in again]

    @property
    def gone(self) -> list[Link]:
        return [link for link in self.removed.values() if link is not None]

    def change(self, granter: str, reason: str) -> BindingChange:
        return BindingChange(tuple(self.granted), tuple(self.removed), self.ended, granter=granter, reason=reason)


def link_of(granted: GrantedRow, snapshot: Snapshot) -> Link | None:
    """The g row of the snapshot that a row of run time is."""
    place = granted.row.link(snapshot.tenant, granted.seq).place
    key = RowKey.of(granted.row)
    return next((each for each in _links(snapshot, key) if each.place == place), None)


def link_in_files(snapshot: Snapshot, key: RowKey) -> Link | None:
    return next((each for each in _links(snapshot, key) if each.line), None)


def _links(snapshot: Snapshot, key: RowKey) -> Iterable[Link]:
    found = snapshot.graph.links_of(key.member)
    return (each for each in found if each.holds == key.holds and each.scope.text == key.scope)
