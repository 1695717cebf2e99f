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
from remit.files import make_private, open_private, sync_folder, writable_by_others, write_whole
from remit.policy.read.tree import Tree
from remit.policy.revisions.archive import Archive, RevisionNotStoredError, StoredRevision, read_about, read_archive

_PIN: Final = "pin.json"
_REMOVED: Final = "removed"
_LOCK: Final = ".lock"

_log = logging.getLogger("remit.policy")


@dataclass(frozen=True, slots=True)
class Pin:
    """A revision that an operator has chosen to serve, whatever the files say."""

    revision: str
    """'' for none: whoever chose one has unpinned it."""
    caller: str
    time_us: int


@dataclass(frozen=True, slots=True)
class RevisionStore:
    """The last good revisions of each tenant, on this node's disk; all workers of the node share them, and the pins.

    `DIRECTORY/TENANT/REVISION.zip` holds the root's and the tenant's files as they were: unpacked, a policy directory
    again. It is written whole or not at all, and counts only while its files have the hash that its name says.
    `DIRECTORY/TENANT/pin.json` is the last word of an operator: a revision and who chose it, or that there is none.
    """

    directory: Path
    count: int
    """Revisions kept of each tenant; one that is pinned stays besides."""
    source: str
    """The policy directory that revisions are read from now. Another one's stand in for nothing by themselves."""

    def keep(self, archive: Archive) -> None:
        """Raises OSError."""
        folder = self.directory / archive.tenant
        make_private(folder)
        with self._alone():
            (folder / _REMOVED).unlink(missing_ok=True)
            newest = self.newest(archive.tenant)
            revision = archive.about.revision
            if newest is None or newest.revision != revision:
                write_whole(folder / f"{revision}.zip", archive.content)
                self._prune(archive.tenant)

    def revisions(self, tenant: Tenant) -> list[StoredRevision]:
        """Newest first. What cannot be read is left out, with a line in the log; so is what another worker prunes."""
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
        """The last one that was read from this source, unless the tenant was removed since."""
        if (self.directory / tenant / _REMOVED).exists():
            return None
        return next((each for each in self.revisions(tenant) if each.source == self.source), None)

    def read(self, tenant: Tenant, revision: str) -> Tree:
        """Raises NotKeptError where it is not there or is damaged."""
        path = self.path(tenant, revision)
        return read_archive(_name(path), path, tenant, revision)

    def path(self, tenant: Tenant, revision: str) -> Path:
        return self.directory / tenant / f"{revision}.zip"

    def find(self, tenant: Tenant, prefix: str) -> str:
        """The one kept revision that begins so. Raises NotKeptError where there is none or more than one."""
        found = [each.revision for each in self.revisions(tenant) if each.revision.startswith(prefix)]
        if len(found) != 1:
            what = f"{len(found)} revisions are" if found else "no revision is"
            kept = ", ".join(each.revision[:12] for each in self.revisions(tenant)) or "none"
            raise RevisionNotStoredError(
                f"{what} kept of tenant `{tenant}` that begins with `{prefix}`: there are {kept}"
            )
        return found[0]

    def tenants(self) -> list[Tenant]:
        """Those of which anything is kept, sorted."""
        found = []
        for path in _listed(self.directory):
            try:
                found.append(parse_tenant(path.name))
            except InvalidNameError:
                continue
        return sorted(found)

    def pin(self, tenant: Tenant, pin: Pin) -> Callable[[], None]:
        """Returns what takes it back. Raises NotKeptError where the revision is not kept any more, and OSError."""
        with self._alone():
            if not (self.directory / tenant / f"{pin.revision}.zip").exists():
                raise RevisionNotStoredError(f"revision `{pin.revision}` of tenant `{tenant}` is not kept")
            return self._say(tenant, pin)

    def unpin(self, tenant: Tenant, caller: str, time_us: int) -> Callable[[], None]:
        """Returns what takes it back. Raises OSError."""
        return self._say(tenant, Pin("", caller, time_us))

    def pinned(self, tenant: Tenant) -> Pin | None:
        """Raises NotKeptError where there is a pin that cannot be read: what it asks for must not be guessed."""
        last = self.last_word(tenant)
        return last if last.revision else None

    def last_word(self, tenant: Tenant) -> Pin:
        """What an operator has said last, also where that was to unpin, or nothing. Raises as `pinned`."""
        path = self.directory / tenant / _PIN
        try:
            told = json.loads(path.read_bytes())
            return Pin(str(told["revision"]), str(told["caller"]), int(told["time_us"]))
        except FileNotFoundError:
            return Pin("", "", 0)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RevisionNotStoredError(f"pin `{path}` cannot be read ({error}): pin again, or unpin") from None

    def remove(self, tenant: Tenant) -> None:
        """Remembers that the tenant was removed, so that nothing kept of it comes back by itself. Raises OSError."""
        folder = self.directory / tenant
        make_private(folder)
        write_whole(folder / _REMOVED, b"")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other worker keeps or pins a revision meanwhile: what one pins, another must not prune."""
        with os.fdopen(open_private(self.directory / _LOCK), "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _say(self, tenant: Tenant, pin: Pin) -> Callable[[], None]:
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
    """Why what a directory of kept revisions holds cannot be trusted, and what to do; '' where it can. Raises OSError.

    Whoever may write to it can plant a revision, whose name anybody can compute, and a pin.
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
