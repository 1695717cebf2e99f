"""The archive of a revision with rows of run time: which files, and which rows beside theirs."""

import json
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any, Final, Self

from remit.core.names import Subject, Tenant
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.rows import Link
from remit.core.runtime import change_of
from remit.policy.revisions.archive import RevisionNotStoredError, pack, unpack

_MEMBER: Final = ".runtime.json"
_LONGEST: Final = 1_000
"""Archives that may lead to one another."""


@dataclass(frozen=True, slots=True)
class RuntimeArchive:
    files: str
    """The revision of the files."""
    after: str
    """The revision whose rows these are added to and removed from; '' if `added` are all."""
    added: tuple[Link, ...]
    removed: tuple[Link, ...]

    @property
    def content(self) -> bytes:
        members = {
            "files": self.files,
            "after": self.after,
            "added": [_columns(each) for each in self.added],
            "removed": [_columns(each) for each in self.removed],
        }
        return pack({_MEMBER: json.dumps(members, separators=(",", ":")).encode()})

    @classmethod
    def read(cls, name: str, content: bytes, tenant: Tenant, most_bytes: int) -> Self | None:
        """None if the archive is of files alone. Raises RevisionNotStoredError if it is damaged."""
        members = unpack(name, content, most_bytes=most_bytes)
        if _MEMBER not in members:
            return None
        try:
            found = json.loads(members[_MEMBER])
            added, removed = (tuple(_link(tenant, *row) for row in found[key]) for key in ("added", "removed"))
            return cls(str(found["files"]), str(found["after"]), added, removed)
        except (ValueError, KeyError, TypeError) as error:
            raise RevisionNotStoredError(f"{name} is damaged: {error}") from None


def archives_behind(
    first: RuntimeArchive,
    tenant: Tenant,
    archive_of: Callable[[str], bytes],
    most_bytes: int,
    known: Container[str] = (),
) -> list[RuntimeArchive]:
    """The archive and those that it builds on, the newest first, up to one with all rows or one after a revision in `known`.
    `archive_of` gives the archive of a revision. Raises RevisionNotStoredError."""
    chain = [first]
    while chain[-1].after and chain[-1].after not in known:
        if len(chain) > _LONGEST:
            raise RevisionNotStoredError(f"kept revisions of tenant `{tenant}` lead to one another")
        name = f"kept revision `{chain[-1].after}` of tenant `{tenant}`"
        before = RuntimeArchive.read(name, archive_of(chain[-1].after), tenant, most_bytes)
        if before is None:
            raise RevisionNotStoredError(f"{name} has no rows of run time, and another revision builds on them")
        chain.append(before)
    return chain


def rows_behind(
    first: RuntimeArchive, tenant: Tenant, archive_of: Callable[[str], bytes], most_bytes: int
) -> tuple[Link, ...]:
    """All rows of run time of a revision. Takes and raises what `archives_behind` does."""
    rows: dict[tuple[str, ...], Link] = {}
    for each in reversed(archives_behind(first, tenant, archive_of, most_bytes)):
        for link in each.removed:
            rows.pop(tuple(_columns(link)), None)
        rows |= {tuple(_columns(link)): link for link in each.added}
    return tuple(rows.values())


def _columns(link: Link) -> list[str]:
    return [link.member, link.holds, link.scope.text, link.file]


def _link(tenant: Tenant, member: Any, holds: Any, scope: Any, file: Any) -> Link:
    """Raises ValueError, also for a row that no change granted."""
    where = EVERYWHERE if scope == EVERYWHERE.text else NamespacePattern.parse(scope)
    link = Link(Subject(member), Subject(holds), tenant, where, str(file), 0)
    change_of(link)
    return link
