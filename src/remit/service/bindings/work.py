"""What a change does to the rows of run time that are in force."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from remit.clock import now_us
from remit.core.rows import Link
from remit.core.runtime import RuntimeRow, change_of
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import BindingChange, GrantedRow, RowKey
from remit.service.errors import NoBindingsError
from remit.service.runtime_links import RuntimeLinks


class BindingWork(NamedTuple):
    """What a change adds to the rows that are in force, and what it takes away."""

    now_us: int
    """By the clock of the store."""
    granted: Sequence[RuntimeRow]
    added: Sequence[Link]
    removed: dict[RowKey, Link | None]
    """Revoked, or granted anew with another end. None if this node's clock says that the row has ended."""
    ended: dict[RowKey, Link | None]
    """Rows whose end has passed. None if the snapshot has them no more."""
    ending: Iterable[GrantedRow]
    """The rows in force that end some time."""
    already: Sequence[RowKey] = ()

    @property
    def only_removed(self) -> list[Link]:
        again = {RowKey.of(row) for row in self.granted}
        return [link for key, link in self.removed.items() if link is not None and key not in again]

    @property
    def shortened(self) -> list[Link]:
        """Rows that are granted anew and end sooner than before."""
        ends = {RowKey.of(row): row.expires_us or inf for row in self.granted if self.removed}
        pairs = ((link, ends.get(key, inf)) for key, link in self.removed.items() if link is not None)
        return [link for link, end_us in pairs if end_us < (link.expires_us or inf)]

    @property
    def only_removed_keys(self) -> list[RowKey]:
        again = {RowKey.of(row) for row in self.granted if self.removed}
        return [key for key in self.removed if key not in again]

    @property
    def gone(self) -> list[Link]:
        return [link for link in self.removed.values() if link is not None]

    @property
    def past(self) -> list[Link]:
        """Those of the rows that have ended which the snapshot still has."""
        return [link for link in self.ended.values() if link is not None]

    def change(self, granter: str, reason: str) -> BindingChange:
        return BindingChange(
            tuple(self.granted), tuple(self.removed), tuple(self.ended), granter=granter, reason=reason
        )


def require_as_granted(links: RuntimeLinks, key: RowKey, stored: GrantedRow | None) -> Link | None:
    """The g row of a snapshot that a row of the store's table of rows is; None if it has ended, or was not granted.

    Nodes take over rows from the changes, which are chained and signed. The table is neither: whoever writes to it must not
    make this node sign that a row is gone. Raises NoBindingsError if it says something else than the snapshot, which
    must be of the newest change.
    """
    link = links.get(key)
    if link is None:
        same = stored is None or not stored.row.counts(now_us())
    else:
        granted = change_of(link), link.expires_us or None
        same = stored is not None and (stored.seq, stored.row.expires_us) == granted
    if not same:
        raise NoBindingsError(
            f"{key.text} is not there as a change granted it: another program wrote to the table `bindings` of the policy "
            "store. Restore the store from its backup"
        )
    return link


def link_in_files(snapshot: Snapshot, key: RowKey) -> Link | None:
    links = snapshot.graph.links_of(key.member)
    return next((each for each in links if each.line and RowKey.of_link(each) == key), None)
