import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from remit.core.errors import InvalidNameError
from remit.core.names import Tenant, is_revision, parse_tenant
from remit.files import make_private, open_private, sync_file, sync_folder, writable_by_others, write_whole
from remit.policy.read.tree import Tree
from remit.policy.revisions.archive import Archive, RevisionNotStoredError, StoredRevision, read_about, read_archive

_PIN: Final = "pin.json"
_REMOVED: Final = "removed"
_LOCK: Final = ".lock"

_log = logging.getLogger("remit.policy")


@dataclass(frozen=True, slots=True)
class Pin:
    """A revision that an operator chose to serve, whatever the files say."""

    revision: str
    """'' for none: the operator unpinned the tenant."""
    caller: str
    time_us: int


@dataclass(frozen=True, slots=True)
class RevisionStore:
    """The last good revisions of each tenant, on this node's disk. All workers of the node share them, and the pins.

    `DIRECTORY/TENANT/REVISION.zip` holds the root's and the tenant's files: unpacked, a policy directory again. It is
    written whole or not at all, and counts only while its files have the hash in its name. `DIRECTORY/TENANT/pin.json`
    is an operator's last order: a revision and who chose it, or that there is none.
    """

    directory: Path
    count: int
    """Revisions kept per tenant; a pinned one stays in addition."""
    source: str
    """The current policy directory. The server never falls back to a revision from another directory."""

    def keep(self, archive: Archive) -> None:
        """Stores a revision. Raises OSError."""
        folder = self.directory / archive.tenant
        make_private(folder)
        with self._alone():
            (folder / _REMOVED).unlink(missing_ok=True)
            newest = self.newest(archive.tenant)
            revision = archive.about.revision
            if newest is None or newest.revision != revision:
                # A sync of each of thousands takes longer than to load them. A power cut may take the newest; a pin syncs.
                write_whole(folder / f"{revision}.zip", archive.content, synced=False)
                self._prune(archive.tenant)

    def revisions(self, tenant: Tenant) -> list[StoredRevision]:
        """The stored revisions, newest first. Skips a file that cannot be read, with a line in the log, and a file that
        another worker prunes meanwhile."""
        found = []
        for path in _listed(self.directory / tenant):
            if path.suffix == ".zip" and is_revision(path.stem):
                try:
                    found.append(read_about(_name(path), path, path.stem))
                except RevisionNotStoredError as error:
                    if path.exists():
                        _log.warning("%s", error)
        return sorted(found, key=lambda each: each.kept_us, reverse=True)

    def newest(self, tenant: Tenant) -> StoredRevision | None:
        """The last revision that was read from this source, unless the tenant was removed since."""
        if (self.directory / tenant / _REMOVED).exists():
            return None
        return next((each for each in self.revisions(tenant) if each.source == self.source), None)

    def read(self, tenant: Tenant, revision: str) -> Tree:
        """Raises RevisionNotStoredError if the revision is missing or damaged."""
        path = self.path(tenant, revision)
        return read_archive(_name(path), path, tenant, revision)

    def path(self, tenant: Tenant, revision: str) -> Path:
        return self.directory / tenant / f"{revision}.zip"

    def find(self, tenant: Tenant, prefix: str) -> str:
        """The stored revision that begins with `prefix`. Raises RevisionNotStoredError unless there is exactly one."""
        found = [each.revision for each in self.revisions(tenant) if each.revision.startswith(prefix)]
        if len(found) != 1:
            what = f"{len(found)} revisions are" if found else "no revision is"
            kept = ", ".join(each.revision[:12] for each in self.revisions(tenant)) or "none"
            raise RevisionNotStoredError(
                f"{what} kept of tenant `{tenant}` that begins with `{prefix}`: there are {kept}"
            )
        return found[0]

    def tenants(self) -> list[Tenant]:
        """The tenants with stored revisions, sorted."""
        found = []
        for path in _listed(self.directory):
            try:
                found.append(parse_tenant(path.name))
            except InvalidNameError:
                continue
        return sorted(found)

    def pin(self, tenant: Tenant, pin: Pin) -> Callable[[], None]:
        """Pins a revision. Returns a function that undoes it. Raises RevisionNotStoredError if the revision is no
        longer stored, and OSError."""
        with self._alone():
            try:
                sync_file(self.path(tenant, pin.revision))
            except FileNotFoundError:
                raise RevisionNotStoredError(f"revision `{pin.revision}` of tenant `{tenant}` is not kept") from None
            return self._write_pin(tenant, pin)

    def unpin(self, tenant: Tenant, caller: str, time_us: int) -> Callable[[], None]:
        """Returns what takes it back. Raises OSError."""
        return self._write_pin(tenant, Pin("", caller, time_us))

    def pinned(self, tenant: Tenant) -> Pin | None:
        """Raises RevisionNotStoredError if there is a pin that cannot be read: never guess what it asks for."""
        last = self.last_order(tenant)
        return last if last.revision else None

    def last_order(self, tenant: Tenant) -> Pin:
        """The operator's last order, which may be to unpin; an empty Pin if there is none. Raises as `pinned`."""
        path = self.directory / tenant / _PIN
        try:
            fields = json.loads(path.read_bytes())
            return Pin(str(fields["revision"]), str(fields["caller"]), int(fields["time_us"]))
        except FileNotFoundError:
            return Pin("", "", 0)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RevisionNotStoredError(f"pin `{path}` cannot be read ({error}): pin again, or unpin") from None

    def remove(self, tenant: Tenant) -> None:
        """Marks the tenant as removed: remit never falls back to a stored revision of it. Raises OSError."""
        folder = self.directory / tenant
        make_private(folder)
        write_whole(folder / _REMOVED, b"")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Locks out other workers that store or pin a revision: none may prune what another pins."""
        with os.fdopen(open_private(self.directory / _LOCK), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _write_pin(self, tenant: Tenant, pin: Pin) -> Callable[[], None]:
        path = self.directory / tenant / _PIN
        before = _content(path)
        write_whole(path, json.dumps(asdict(pin)).encode())
        return lambda: _restore(path, before)

    def _prune(self, tenant: Tenant) -> None:
        try:
            pin = self.pinned(tenant)
        except RevisionNotStoredError:
            return
        for each in self.revisions(tenant)[self.count :]:
            if pin is None or pin.revision != each.revision:
                (self.directory / tenant / f"{each.revision}.zip").unlink(missing_ok=True)


def open_to_others(directory: Path) -> str:
    """Why a directory of stored revisions cannot be trusted, and what to do; '' if it can. Raises OSError.

    Anyone who may write to it can plant a revision, whose name anybody can compute, and a pin.
    """
    if not directory.exists():
        return ""
    folders = [each for each in directory.iterdir() if each.is_dir()]
    files = [directory / _LOCK, *(folder / _PIN for folder in folders)]
    found = [each for each in (directory, *folders, *files) if each.exists() and writable_by_others(each)]
    if not found:
        return ""
    more = f" and {len(found) - 1} more in it" if len(found) > 1 else ""
    return (
        f"others than its owner may write to `{found[0]}`{more}, and so decide what this node serves: see whether all that "
        f"is in it is yours, then run `chmod -R go-w {directory}`"
    )


def _listed(directory: Path) -> Iterable[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return ()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _name(path: Path) -> str:
    return f"kept revision `{path}`"


def _restore(path: Path, before: bytes | None) -> None:
    if before is not None:
        write_whole(path, before)
        return
    path.unlink(missing_ok=True)
    sync_folder(path.parent)
