"""The rows of run time of a snapshot, by what makes two of them the same row."""

from collections.abc import Iterable
from itertools import chain
from typing import Final

from remit.core.names import Subject
from remit.core.rows import Link
from remit.engine.snapshot import Snapshot
from remit.fleet.bindings import RowKey

_WIDE: Final = 16
"""A member with more g rows has an index while these rows are looked at."""


class RuntimeLinks:
    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._of_wide: dict[Subject, dict[RowKey, Link]] = {}

    def get(self, key: RowKey) -> Link | None:
        links = self._snapshot.graph.links_of(key.member)
        if len(links) < _WIDE:
            return _found(links, key)
        found = self._of_wide.get(key.member)
        if found is None:
            found = self._of_wide[key.member] = {RowKey.of_link(link): link for link in links if not link.line}
        return found.get(key)

    def keys(self, members: Iterable[Subject] | None = None) -> Iterable[RowKey]:
        """Of the rows of `members`; of all, unless these are given."""
        of_members = chain.from_iterable(map(self._snapshot.graph.links_of, members or ()))
        links = self._snapshot.policy.links if members is None else of_members
        return (RowKey.of_link(link) for link in links if not link.line)


def _found(links: Iterable[Link], key: RowKey) -> Link | None:
    for link in links:
        if not link.line and link.holds == key.holds and link.scope.text == key.scope:
            return link
    return None
