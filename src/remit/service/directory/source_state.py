"""What is wrong with the policy directory that a server publishes. Its puller writes it, all its processes read it."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Self

from remit.core.diagnostics import Diagnostic
from remit.core.names import Tenant
from remit.files import write_whole
from remit.fleet.journal import ReleaseJournal

_FILE: Final = "directory.json"


class RefusedFiles(NamedTuple):
    """A tenant's files of the directory that are in no release, and why."""

    revision: str
    """Of the files; '' if there are none any more."""
    diagnostics: tuple[Diagnostic, ...]


class SourceState(NamedTuple):
    wrong: tuple[Diagnostic, ...] = ()
    """Errors of the root files, or of the directory itself."""
    tenants: Mapping[Tenant, RefusedFiles] = {}
    """Tenants whose newest files are refused."""

    @classmethod
    def read(cls, journal: ReleaseJournal) -> Self:
        """Raises ValueError, KeyError or TypeError if the file is damaged, and OSError."""
        try:
            members = json.loads((journal.directory / _FILE).read_bytes())
        except FileNotFoundError:
            return cls()
        return cls(
            _diagnostics(members["wrong"]),
            {
                Tenant(name): RefusedFiles(each["revision"], _diagnostics(each["diagnostics"]))
                for name, each in members["tenants"].items()
            },
        )

    def write(self, journal: ReleaseJournal) -> None:
        """Raises OSError."""
        tenants = {
            name: {"revision": each.revision, "diagnostics": _fields(each.diagnostics)}
            for name, each in self.tenants.items()
        }
        content = json.dumps({"wrong": _fields(self.wrong), "tenants": tenants}, indent=1)
        write_whole(journal.directory / _FILE, content.encode())
        journal.tell()


WELL: Final = SourceState()
"""Nothing is wrong."""


def _fields(diagnostics: tuple[Diagnostic, ...]) -> list[list[Any]]:
    return [[each.file, each.line, each.column, each.message] for each in diagnostics]


def _diagnostics(fields: list[list[Any]]) -> tuple[Diagnostic, ...]:
    return tuple(Diagnostic(*each) for each in fields)
