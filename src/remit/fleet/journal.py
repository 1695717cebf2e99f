"""The releases on a node's disk: what its processes read as their policy directory.

The module is long because whoever ends in the middle of a write must find it in what the next start puts back.
"""

import fcntl
import json
import os
import secrets
import select
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Final, NamedTuple

from remit.core.errors import InvalidNameError
from remit.core.names import Tenant
from remit.files import make_private, open_private, sync_folder, write_whole
from remit.fleet.binding_log import BindingLog, append
from remit.fleet.current_release import (
    ROOT,
    CurrentRelease,
    Fork,
    PassedPositions,
    about,
    next_release,
    note_positions,
    parse_about,
)
from remit.fleet.errors import ForgedReleaseError, PolicyStoreError
from remit.fleet.history import Known, Pulled, folder_files
from remit.fleet.node_report import KnownNode
from remit.fleet.release import Release
from remit.policy.read.tree import Folder, Tree

_ABOUT: Final = "release.json"
_POLICIES: Final = "policies"
_CURRENT: Final = "current"
_RELEASES: Final = "releases"
_TREES: Final = "trees"
_OLD: Final = ".old-"
_CHECKED: Final = "checked"
_STATE: Final = "store.json"
_NODES: Final = "nodes.json"
_FORK: Final = "fork.json"
_BINDINGS: Final = "bindings"
_POSITIONS: Final = "positions"
_NEWS: Final = "news-"
_INSTANCE: Final = "instance"
_WANTED: Final = "wanted"
_LOCK: Final = ".lock"
_KEPT: Final = 3
_SHOWN: Final = 16
_AGAIN_S: Final = 1.0
_PIPE_BYTES: Final = 65_536

Fetch = Callable[[Iterable[str]], Iterator[tuple[str, bytes]]]
"""Returns the packed files of these digests."""


class StoreState(NamedTuple):
    """How the node gets on with the policy store, as its puller last wrote it."""

    mode: str = ""
    """`listening`, `polling`, or '' before the first contact."""
    error: str = ""
    """Why the last look failed; '' if it did not."""


class ReleaseJournal:
    """`DIR/current` leads to the newest release that was verified: `release.json`, and `policies`, a link to the files.

    A release with other root files gets a folder of its own below `DIR/trees`, written and synced before the link is switched:
    a process that reads through the link gets the root and the tenants of one release. Else the folders of the tenants that
    have changed are exchanged one by one in the present place, each whole, before `release.json` says so. One process writes;
    all processes of the node read. A node starts from it without the store.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._current = self.directory / _CURRENT
        self._lock: int | None = None
        self._read: tuple[tuple[int, ...], CurrentRelease] | None = None
        """The status of `release.json` when it was read, and what it said."""
        self._passed = PassedPositions(self.directory / _POSITIONS, {})
        self._whole: Path | None = None
        """Where the link led when its files were written or verified."""

    @property
    def policies(self) -> Path:
        """The policy directory."""
        return self._current / _POLICIES

    def begin(self) -> None:
        """Makes the directory, and keeps other writers out until `end`. Raises PolicyStoreError."""
        try:
            make_private(self.directory / _RELEASES)
            self._lock = open_private(self.directory / _LOCK)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.end()
                raise PolicyStoreError(
                    f"another server uses `releases`, which is `{self.directory}`: each node needs a directory of its own"
                ) from None
            self._name()
            wanted = self.directory / _WANTED
            if not wanted.is_fifo():
                wanted.unlink(missing_ok=True)
                os.mkfifo(wanted, 0o600)
            make_private(self.directory / _TREES)
            self._put_back()
            for folder in (_RELEASES, _TREES):
                for left in (self.directory / folder).glob(".new-*"):
                    shutil.rmtree(left)
        except OSError as error:
            raise PolicyStoreError(
                f"`releases` is `{self.directory}`, which cannot be written: {error.strerror}; name a directory of this node"
            ) from error

    @property
    def instance(self) -> str:
        """What tells the server of this directory from all others. Raises OSError before the first `begin`."""
        return (self.directory / _INSTANCE).read_text()

    def end(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def current(self) -> CurrentRelease | None:
        """None if there is none. Raises PolicyStoreError if it is damaged. The file is read only if it is another one."""
        path = self._current / _ABOUT
        read = self._read
        try:
            seen = _seen(path)
            if read is None or read[0] != seen:
                read = self._read = seen, self._with_positions(parse_about(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, InvalidNameError) as error:
            raise PolicyStoreError(f"`{path}` is damaged: {error}") from error
        return read[1]

    def _with_positions(self, current: CurrentRelease) -> CurrentRelease:
        current = current.after(self._read[1] if self._read is not None else None)
        self._passed = self._passed.at(current.heads)
        return current._replace(passed=self._passed)

    def known(self) -> Known:
        """What the node has, if its files and its rows of run time are those of the release; else nothing, so that everything
        is pulled again."""
        self._whole = None
        with suppress(PolicyStoreError, OSError, ValueError):
            current = self.current()
            if current is not None and self._is_whole():
                for tenant, position in current.tenants.items():
                    self.binding_log(tenant).read(position.bindings)
                # A process that was killed may have left the name of a log unsynced. From now on only contents change.
                if (logs := self.directory / _BINDINGS).exists():
                    sync_folder(logs)
                self._whole = self.target
                return Known(current.seq, current.hash, current.tenants)
        return Known()

    def put(self, pulled: Pulled, fetch: Fetch, most_bytes: int) -> None:
        """Writes a release and switches to it. Files that the present release has too are not fetched.

        Raises ForgedReleaseError if the fetched files are not those of the release, PolicyStoreError if rows of run time were
        lost here, and OSError; then the present release stays.
        """
        release = pulled.release
        before = self._before()
        current = next_release(pulled, before)
        content = about(current, release)
        name = Path(_RELEASES) / f"{release.seq}-{release.hash[:_SHOWN]}"
        target = self.directory / name
        if name == self._whole == self.target:
            self._log_changes(pulled, before)
            write_whole(target / _ABOUT, content)
            # This process need not read what it wrote.
            self._read = _seen(target / _ABOUT), self._with_positions(current)
            self.tell()
            return
        try:
            tree = self._changed_tree(pulled, before, fetch, most_bytes)
            if tree is None:
                tree = self._new_tree(pulled, before, fetch, most_bytes)
            self._switch(name, tree, content)
        except BaseException:
            self._put_back()
            raise
        self._whole = name
        self.tell()
        self._prune(target)

    def _switch(self, name: Path, tree: Path, content: bytes) -> None:
        """From now on the release of this name is the current one, with the files of the tree."""
        target = self.directory / name
        with self._scratch(_RELEASES) as made:
            (made / _POLICIES).symlink_to(Path("..", "..", _TREES, tree.name))
            _write(made, ROOT, {_ABOUT: content})
            if target.exists():
                shutil.rmtree(target)
            made.rename(target)
        sync_folder(target.parent)
        link = self.directory / f".{_CURRENT}-{secrets.token_hex(8)}"
        link.symlink_to(name)
        link.replace(self._current)
        sync_folder(self.directory)

    def record_fork(self, fork: Fork) -> None:
        """Notes that the audit has a record of this fork. Any process of the node may call it. Raises OSError."""
        if fork != self.recorded_fork():
            write_whole(self.directory / _FORK, json.dumps(fork._asdict()).encode())

    def recorded_fork(self) -> Fork | None:
        """The last fork of which the audit has a record."""
        try:
            return Fork(**json.loads((self.directory / _FORK).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None

    def binding_log(self, tenant: Tenant) -> BindingLog:
        return BindingLog(self._log_of(tenant))

    @property
    def target(self) -> Path | None:
        """Where the link leads that `policies` is below; None if there is none yet."""
        try:
            return self._current.readlink()
        except OSError:
            return None

    def _log_of(self, tenant: Tenant) -> Path:
        return self.directory / _BINDINGS / f"{tenant}.jsonl"

    def _log_changes(self, pulled: Pulled, before: CurrentRelease | None) -> None:
        """Before `release.json` says that they are there."""
        note_positions(self.directory / _POSITIONS, pulled, before)
        make_private(self.directory / _BINDINGS)
        for tenant, bindings in pulled.bindings.items():
            try:
                append(self._log_of(tenant), bindings.changes, after=bindings.after)
            except ValueError as error:
                raise PolicyStoreError(str(error)) from error
        if pulled.is_anew:
            # Another history may have no rows where this one had some.
            for path in (self.directory / _BINDINGS).glob("*.jsonl"):
                if Tenant(path.stem) not in pulled.bindings:
                    path.unlink()

    def tell(self) -> None:
        """Lets all processes of this node look into the journal."""
        for pipe in self.directory.glob(f"{_NEWS}*"):
            if not _wake(pipe):
                # Its process was killed.
                pipe.unlink(missing_ok=True)

    def changes(self, stop: Event) -> Iterator[None]:
        """Yields at the start, at each `tell` of a process of this node, and every second in any case, until `stop` is
        set."""
        while not stop.is_set():
            yield
            with suppress(OSError), self._news() as pipe:
                yield
                while not stop.is_set():
                    if pipe in select.select([pipe], [], [], _AGAIN_S)[0]:
                        os.read(pipe, _PIPE_BYTES)
                    yield
            stop.wait(_AGAIN_S)

    @contextmanager
    def _news(self) -> Iterator[int]:
        """A pipe of this process to which `tell` writes. Raises OSError."""
        pipe = self.directory / f"{_NEWS}{secrets.token_hex(8)}"
        hidden = self.directory / f".{pipe.name}"
        os.mkfifo(hidden, 0o600)
        # Open for writing too: without a writer the pipe would be readable for ever.
        descriptor = os.open(hidden, os.O_RDWR | os.O_NONBLOCK)
        try:
            # `tell` removes a pipe that nobody reads.
            hidden.rename(pipe)
            yield descriptor
        finally:
            os.close(descriptor)
            pipe.unlink(missing_ok=True)

    def checked(self, state: StoreState) -> None:
        """Notes that the store was looked at, and with which outcome. Raises OSError."""
        if state != self.state():
            write_whole(self.directory / _STATE, json.dumps(state._asdict()).encode())
        if not state.error:
            path = self.directory / _CHECKED
            path.touch(0o600)
            os.utime(path)

    def state(self) -> StoreState:
        try:
            return StoreState(**json.loads((self.directory / _STATE).read_bytes()))
        except (OSError, ValueError, TypeError):
            return StoreState()

    def note_nodes(self, nodes: Iterable[KnownNode]) -> None:
        """Notes what the store knows of the fleet, so that every process of this node can tell it. Raises OSError."""
        rows = [[*each[:3], sorted(each.formats), *each[4:]] for each in nodes]
        write_whole(self.directory / _NODES, json.dumps(rows).encode())

    def nodes(self) -> list[KnownNode]:
        """The nodes as the store knew them when it was last asked."""
        path = self.directory / _NODES
        try:
            rows, age_s = json.loads(path.read_bytes()), max(time.time() - path.stat().st_mtime, 0.0)
            nodes = [KnownNode(*row)._replace(behind=tuple(row[8]), formats=frozenset(row[3])) for row in rows]
        except (OSError, ValueError, TypeError, IndexError):
            return []
        return [each._replace(age_s=each.age_s + age_s) for each in nodes]

    def age_s(self) -> float:
        """Seconds since the store was last looked at with success; infinite before the first time."""
        try:
            return max(time.time() - (self.directory / _CHECKED).stat().st_mtime, 0.0)
        except OSError:
            return float("inf")

    def ask_for_news(self) -> None:
        """Wakes the process that pulls, if there is one. Any process of the node may call it."""
        _wake(self.directory / _WANTED)

    def hear(self) -> int:
        """A descriptor that becomes readable when a process asks for news. Raises OSError."""
        # Open for writing too: without a writer the pipe would be readable for ever.
        return os.open(self.directory / _WANTED, os.O_RDWR | os.O_NONBLOCK)

    def _name(self) -> None:
        with suppress(OSError):
            if self.instance:
                return
        write_whole(self.directory / _INSTANCE, secrets.token_hex(16).encode())

    def _before(self) -> CurrentRelease | None:
        with suppress(PolicyStoreError):
            return self.current()
        return None

    def _is_whole(self) -> bool:
        digests = self._digests()
        return bool(digests) and digests == {
            name: Folder(name, files).digest for name, files in _stored(self.policies).items()
        }

    def _digests(self) -> Mapping[str, str]:
        """The digests of the folders of the current release, by their names; none if they cannot be read."""
        try:
            found: dict[str, str] = json.loads((self._current / _ABOUT).read_bytes())["digests"]
        except (OSError, ValueError, KeyError):
            return {}
        return found

    def _changed_tree(
        self, pulled: Pulled, before: CurrentRelease | None, fetch: Fetch, most_bytes: int
    ) -> Path | None:
        """The present tree with the folders of the release. None if it cannot become that: it has another root, or is not
        known to be whole."""
        release, digests, tree = pulled.release, self._digests(), self.policies.resolve()
        if before is None or self._whole is None or self._whole != self.target or digests.get(ROOT) != release.root:
            return None
        if tree.parent != self._trees:
            # An older version wrote it.
            return None
        changed: dict[str, list[str]] = {}
        for tenant, digest in release.tenants.items():
            if digests.get(tenant) != digest:
                changed.setdefault(digest, []).append(tenant)
        folders = {
            name: folder_files(name, packed, digest, most_bytes)
            for digest, packed in fetch(changed)
            for name in changed[digest]
        }
        _require_revisions(pulled, _root_of(tree), folders, before)
        self._log_changes(pulled, before)
        # Whatever ends this process in the middle, `_put_back` finds the folders of the release that `release.json` is about.
        aside = self._trees / f"{_OLD}{tree.name}"
        with self._scratch(_TREES) as made:
            for folder, files in folders.items():
                _write(made / folder, folder, files)
            make_private(aside)
            for name in (digests.keys() - release.tenants.keys() - {ROOT}) | folders.keys():
                if (tree / name).exists():
                    (tree / name).rename(aside / name)
                if name in folders:
                    (made / name).rename(tree / name)
        for each in (aside, tree, self._trees):
            sync_folder(each)
        return tree

    def _new_tree(self, pulled: Pulled, before: CurrentRelease | None, fetch: Fetch, most_bytes: int) -> Path:
        """A tree with the files of the release. Files that the present one has too are linked."""
        release, tree = pulled.release, self._trees / f"{pulled.release.seq}-{secrets.token_hex(8)}"
        here = _stored(self.policies)
        folders = dict(self._files(release, here, fetch, most_bytes))
        _require_revisions(pulled, Folder(ROOT, folders[ROOT]), folders, None)
        self._log_changes(pulled, before)
        with self._scratch(_TREES) as made:
            for folder, files in folders.items():
                like = self.policies / folder if files is here.get(folder) else None
                _write(made / folder, folder, files, like, synced=False)
            # One call for all files: to sync each of many would take longer than all else.
            os.sync()
            made.rename(tree)
        sync_folder(self._trees)
        return tree

    @property
    def _trees(self) -> Path:
        return self.directory.resolve() / _TREES

    @contextmanager
    def _scratch(self, parent: str) -> Iterator[Path]:
        """A folder to rename, or else it is removed. Raises OSError."""
        made = self.directory.resolve() / parent / f".new-{secrets.token_hex(8)}"
        make_private(made)
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)

    def _put_back(self) -> None:
        """Ends an exchange of folders in which the process ended: those that `release.json` is about are put back."""
        digests = self._digests()
        for aside in self._trees.glob(f"{_OLD}*"):
            tree = self._trees / aside.name.removeprefix(_OLD)
            for left in aside.iterdir():
                expected = digests.get(left.name)
                if tree == self.policies.resolve() and expected == _folder_of(aside, left.name).digest:
                    shutil.rmtree(tree / left.name, ignore_errors=True)
                    left.rename(tree / left.name)
            if tree == self.policies.resolve():
                for new in [each for each in tree.iterdir() if each.is_dir() and each.name not in digests]:
                    shutil.rmtree(new)
            shutil.rmtree(aside)

    def _files(
        self, release: Release, here: Mapping[str, dict[str, bytes]], fetch: Fetch, most_bytes: int
    ) -> Iterator[tuple[str, dict[str, bytes]]]:
        """The files of the release, by folder."""
        wanted: dict[str, list[str]] = {}
        for name, digest in ((ROOT, release.root), *release.tenants.items()):
            if name in here and Folder(name, here[name]).digest == digest:
                yield name, here[name]
            else:
                wanted.setdefault(digest, []).append(name)
        for digest, packed in fetch(wanted):
            for name in wanted[digest]:
                yield name, folder_files(name, packed, digest, most_bytes)

    def _prune(self, current: Path) -> None:
        found = sorted(
            (each for each in current.parent.iterdir() if each != current), key=lambda each: each.stat().st_mtime
        )
        for each in found[: -(_KEPT - 1)]:
            shutil.rmtree(each, ignore_errors=True)
        used = {(each / _POLICIES).resolve() for each in current.parent.iterdir()}
        for each in self._trees.iterdir():
            if each not in used:
                shutil.rmtree(each, ignore_errors=True)


def _seen(path: Path) -> tuple[int, ...]:
    """What tells a file from the one before of its name. Raises OSError."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _require_revisions(
    pulled: Pulled, root: Folder, folders: Mapping[str, dict[str, bytes]], before: CurrentRelease | None
) -> None:
    """Raises ForgedReleaseError if a tenant's last change is about other files: positions are by revision. Tenants without
    `folders` have the same files as in the release `before`."""
    for tenant, known in pulled.known.tenants.items():
        revision = ""
        if tenant in folders:
            revision = Tree(root, {tenant: Folder(tenant, folders[tenant])}).revision(tenant)
        elif tenant in pulled.release.tenants and before is not None and tenant in before.tenants:
            revision = before.tenants[tenant].revision
        if known.revision != revision:
            raise ForgedReleaseError(
                f"the last change of tenant `{tenant}` is not about the files of the newest release"
            )


def _wake(pipe: Path) -> bool:
    """Makes the pipe readable. False if nobody reads it."""
    try:
        descriptor = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    with suppress(OSError):  # it is full, and so it is readable
        os.write(descriptor, b"\0")
    os.close(descriptor)
    return True


def _stored(policies: Path) -> dict[str, dict[str, bytes]]:
    """The files below a policy directory, by folder. They are remit's own: nothing else is written there."""
    found = {ROOT: _root_of(policies).files}
    with suppress(OSError), os.scandir(policies) as entries:
        found |= {each.name: _folder_of(policies, each.name).files for each in entries if each.is_dir()}
    return found


def _root_of(policies: Path) -> Folder:
    root = Folder(ROOT)
    with suppress(OSError), os.scandir(policies) as entries:
        root.files.update((each.name, Path(each.path).read_bytes()) for each in entries if each.is_file())
    return root


def _folder_of(place: Path, name: str) -> Folder:
    """A tenant's folder in this place, with the folders in it."""
    folder = Folder(name)
    for path, _, files in os.walk(place / name):
        for each in files:
            file = f"{path}/{each}"
            folder.files[os.path.relpath(file, place)] = Path(file).read_bytes()
    return folder


def _write(
    place: Path, folder: str, files: Mapping[str, bytes], like: Path | None = None, *, synced: bool = True
) -> None:
    """Writes the files of a folder. With `like`, those of another place are the same and are linked."""
    make_private(place)
    folders = {place}
    for name, content in files.items():
        path = place / name.removeprefix(f"{folder}/")
        if path.parent not in folders:
            make_private(path.parent)
            folders.add(path.parent)
        if like is not None:
            os.link(like / path.relative_to(place), path)
            continue
        with os.fdopen(open_private(path), "wb") as file:
            file.write(content)
            if synced:
                file.flush()
                os.fsync(file.fileno())
    if synced:
        for each in (*(folders - {place}), place, place.parent):
            sync_folder(each)
