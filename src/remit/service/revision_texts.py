"""The texts of policies: the files of a revision, and its rows of run time as lines."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import groupby
from threading import Lock
from typing import Final, NamedTuple

from remit.core.names import Tenant
from remit.core.rows import Link
from remit.core.runtime import RUNTIME_FILE, change_of
from remit.policy.read.limits import Limits
from remit.policy.read.tree import RESOURCES
from remit.policy.revisions.explainer import ArchivedPolicy
from remit.service.kept_revisions import KeptRevisions

_HELD: Final = 2
"""Revisions whose files are kept unpacked, because a reader asks for one page after another."""


class SourceFile(NamedTuple):
    path: str
    size: int
    digest: str
    """SHA-256, in hexadecimal digits."""
    shared: bool
    """True if the file says something of other tenants too."""


@dataclass(frozen=True)
class PolicySource:
    """The text of one revision of a tenant."""

    revision: str
    files_revision: str
    """The revision of its files alone: another one if there are rows of run time."""
    texts: Mapping[str, bytes] = field(repr=False)
    changes: Mapping[str, Sequence[str]] = field(repr=False)
    """The rows of run time by `runtime:change N`, in the order of changes."""

    @cached_property
    def files(self) -> Sequence[SourceFile]:
        """Sorted by path."""
        return [
            SourceFile(path, len(text), sha256(text).hexdigest(), path == RESOURCES)
            for path, text in sorted(self.texts.items())
        ]

    def lines(self, path: str) -> Sequence[str] | None:
        """The lines of a file, or the rows of a change; None if there is no such file or change."""
        if path in self.changes:
            return self.changes[path]
        text = self.texts.get(path)
        if text is None:
            return None
        lines = text.decode("utf-8", errors="replace").split("\n")
        return lines[:-1] if lines[-1] == "" else lines


class RevisionTexts:
    """Unpacks kept revisions for readers."""

    def __init__(self, kept: KeptRevisions, limits: Limits) -> None:
        self._kept = kept
        self._limits = limits
        self._mutex = Lock()
        self._held: OrderedDict[tuple[Tenant, str], PolicySource] = OrderedDict()

    def source(self, tenant: Tenant, revision: str) -> PolicySource:
        """`revision` is as `KeptRevisions.revision` takes it. Raises RevisionNotStoredError, and AuditStoreError."""
        key = tenant, self._kept.revision(tenant, revision)
        with self._mutex:
            found = self._held.get(key)
            if found is not None:
                self._held.move_to_end(key)
                return found
        found = source_of(*key, self._kept.archived(*key), self._limits)
        with self._mutex:
            self._held[key] = found
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
        return found


def source_of(tenant: Tenant, revision: str, archived: ArchivedPolicy, limits: Limits) -> PolicySource:
    """Raises RevisionNotStoredError if the archive is damaged."""
    tree = archived.tree(tenant, limits)
    texts = {**tree.root.files, **tree.tenants[tenant].files}
    changes = _changes(archived.rows)
    if changes:
        lines = (
            line for change, rows in changes.items() for line in (f"# {change.removeprefix(f'{RUNTIME_FILE}:')}", *rows)
        )
        texts[RUNTIME_FILE] = "".join(f"{line}\n" for line in lines).encode()
    return PolicySource(revision, archived.files_revision, texts, changes)


def _changes(rows: Iterable[Link]) -> dict[str, Sequence[str]]:
    ordered = sorted(rows, key=lambda row: (change_of(row), row.text))
    return {file: [row.text for row in same] for file, same in groupby(ordered, key=lambda row: row.file)}
