import errno
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from remit.core.errors import InvalidNameError, RemitError
from remit.core.names import CALLERS, INSTANCE, TENANT_GRAMMAR, Tenant, is_tenant, parse_tenant, quote
from remit.engine.pacing import Pacing, unpaced
from remit.policy.read.limits import Limits
from remit.policy.read.report import Diagnostics, did_you_mean

REVISION_FORMAT: Final = b"remit policy 1\n"
"""Change this when the same files get a different meaning."""

VOCABULARY: Final = "vocabulary.yaml"
ROLES: Final = "roles.csv"
BINDINGS: Final = "bindings.csv"
REACH: Final = "reach.csv"
RESOURCES: Final = "resources.yaml"
AUTHZEN: Final = "authzen.yaml"
CATALOGUE: Final = "catalogue.csv"
MANIFEST: Final = "tenant.yaml"
GATEWAY: Final = "gateway.yaml"
TESTS: Final = "tests"
GIT: Final = ".git"

SHARED: Final = ""
"""In a stamp, the key of everything outside tenants' folders."""

Stamp = Mapping[str, frozenset[tuple[str | int, ...]]] | None
"""Entries by tenant folder, or by SHARED."""

_ENTRIES: Final = 10_000
"""Limit of files and folders in a tenant's folder or its tests: to list them takes time from other tenants."""
_READINGS: Final = 6
_FIRST_PAUSE_S: Final = 0.02
_LACKING: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The system lacks resources to read: nothing is wrong with the files."""

_ROOT_FILES: Final = (VOCABULARY, ROLES, RESOURCES)
_TENANT_FILES: Final = (ROLES, BINDINGS, REACH, MANIFEST, AUTHZEN, CATALOGUE, GATEWAY)
_CALLERS_FILES: Final = (ROLES, BINDINGS)

_IGNORED = re.compile(r"\..*|README(\..*)?|.*~|#.*#|.*\.(swp|swo|bak)", re.DOTALL).fullmatch


class UnsettledError(RemitError):
    """The policy directory changed during every attempt to read it."""


@dataclass(slots=True)
class Folder:
    """The files of the root or of one tenant: bytes by path below the policy directory."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    report: Diagnostics = field(default_factory=Diagnostics)
    _digest: str = field(default="", init=False, repr=False, compare=False)

    def get(self, file: str) -> bytes | None:
        return self.files.get(f"{self.name}/{file}" if self.name else file)

    @property
    def digest(self) -> str:
        """SHA-256 over the files of this folder alone. No file may change after the first call."""
        self._digest = self._digest or _digest(self.files)
        return self._digest


@dataclass(frozen=True, slots=True)
class Tree:
    root: Folder
    tenants: Mapping[Tenant, Folder]

    def revision(self, tenant: Tenant) -> str:
        """SHA-256 over a format version and the (path, length, bytes) of the root's and the tenant's files."""
        return _digest(self.root.files, self.tenants[tenant].files)

    @property
    def tree_revision(self) -> str:
        return _digest(self.root.files, *(folder.files for folder in self.tenants.values()))


def is_policy_file(path: str) -> bool:
    """True if remit reads a file at this path below a policy directory."""
    match path.split("/"):
        case [name]:
            return name in _ROOT_FILES
        case [folder, name]:
            return name in _files_of(folder)
        case [_, folder, name]:
            return folder == TESTS and _is_test(name) and not _IGNORED(name)
    return False


def read_settled(
    directory: Path, limits: Limits, only: Tenant | None = None, settle_s: float = 0
) -> tuple[Tree, frozenset[str]]:
    """Like `read_tree`, but consistent: reads again if anything changes meanwhile. Returns the tree, and the names of
    folders that kept changing or changed less than `settle_s` seconds ago; their content is not from one moment.

    Raises UnsettledError if what all tenants share kept changing, and what `read_tree` raises.
    """
    pause_s = _FIRST_PAUSE_S
    first = before = stamp(directory, only=only)
    for _ in range(_READINGS):
        tree: Tree | None = None
        try:
            tree = read_tree(directory, limits, only)
        except OSError:
            if before == stamp(directory, only=only):
                raise
        after = stamp(directory, only=only)
        if tree is not None and not changed_folders(before, after):
            return tree, _young(directory, after, settle_s)
        time.sleep(pause_s)
        pause_s *= 1.5
        before = after
    changed = changed_folders(first, after)
    if tree is None or SHARED in changed:
        raise UnsettledError(f"policy directory `{directory}` changed each of {_READINGS} times that it was read")
    return tree, changed | _young(directory, after, settle_s)


def changed_folders(before: Stamp, after: Stamp) -> frozenset[str]:
    """The names of folders that differ, and of folders that may differ because of them."""
    if before is None or after is None:
        return frozenset() if before is after else frozenset({SHARED})
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    # A link may lead to a file in another folder.
    linked = {
        name for name, entries in after.items() if changed and any(stat.S_ISLNK(int(each[1])) for each in entries)
    }
    return frozenset(changed | linked)


def _young(directory: Path, found: Stamp, settle_s: float) -> frozenset[str]:
    if not settle_s or found is None:
        return frozenset()
    young = young_folders(found, settle_s)
    if SHARED in young:
        raise UnsettledError(f"policy directory `{directory}` has not rested for {settle_s:g} s")
    return young


def young_folders(found: Stamp, within_s: float) -> frozenset[str]:
    """The names of folders in which something changed less than so many seconds ago."""
    now_ns = time.time_ns()
    since_ns = now_ns - round(within_s * 1e9)
    # Ignore times in the future: with a clock ahead of ours, nothing would ever count as settled.
    return frozenset(
        name for name, entries in (found or {}).items() if any(since_ns < int(each[-1]) <= now_ns for each in entries)
    )


def stamp(directory: Path, pacing: Pacing = unpaced, only: Tenant | None = None) -> Stamp:
    """Place, size and times of all entries below the directory, or of those that are no other tenant's than `only`; equal if
    nothing changed. None if there is no directory.

    Raises OSError if the system lacks the resources to read.
    """
    try:
        top = str(directory.resolve(strict=True))
    except (OSError, RuntimeError):
        return None
    found: dict[str, set[tuple[str | int, ...]]] = {SHARED: {(top, stat.S_IFDIR, 0)}}
    for whose, entry in pacing(_entries(top, only)):
        found.setdefault(whose, set()).add(_seen(entry))
    return {name: frozenset(entries) for name, entries in found.items()}


def directories(top: str, only: Tenant | None = None) -> Iterator[tuple[str, str]]:
    """The directories whose entries count, with their tenant or SHARED: the top, tenants' folders and their tests.
    Outside tenants' folders all directories count, because links may lead there. Follows no link except one to tests.

    Raises OSError if the system lacks the resources to read.
    """
    yield SHARED, top
    for entry in _scanned(top):
        if not entry.is_dir(follow_symlinks=False):
            continue
        if is_tenant(entry.name):
            if only not in {None, entry.name}:
                continue
            yield entry.name, entry.path
            yield from ((entry.name, each.path) for each in _scanned(entry.path, _ENTRIES) if _is_tests(each))
        else:
            for folder, folders, _ in os.walk(entry.path, onerror=_refuse_lack):
                folders[:] = [each for each in folders if each != GIT]
                yield SHARED, folder


def _is_tests(entry: os.DirEntry[str]) -> bool:
    return entry.name == TESTS and _is_folder(entry)


def _scanned(path: str, most: int | None = None) -> list[os.DirEntry[str]]:
    """The entries of a directory, at most `most` + 1, without `.git`; none if the directory cannot be read."""
    try:
        with os.scandir(path) as entries:
            found = list(entries if most is None else islice(entries, most + 1))
    except OSError as error:
        _refuse_lack(error)
        return []
    return [entry for entry in found if entry.name != GIT]


def _seen(entry: os.DirEntry[str]) -> tuple[str | int, ...]:
    try:
        seen = entry.stat(follow_symlinks=False)
    except OSError as error:
        _refuse_lack(error)
        return (entry.path, 0, 0)
    target: tuple[int, ...] = ()
    if stat.S_ISLNK(seen.st_mode):
        # The target may be outside all watched directories.
        try:
            behind = entry.stat()
        except OSError:
            pass
        else:
            target = (behind.st_ino, behind.st_size, behind.st_mtime_ns)
    return (entry.path, seen.st_mode, seen.st_ino, seen.st_size, seen.st_mtime_ns, *target, seen.st_ctime_ns)


def _entries(top: str, only: Tenant | None) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The entries of the directories that count, with their tenant or SHARED."""
    for whose, folder in directories(top, only):
        for entry in _scanned(folder, _ENTRIES if whose else None):
            # A tenant's folder itself belongs to the tenant.
            owner = entry.name if folder == top and is_tenant(entry.name) else whose
            if only is None or owner in {SHARED, only}:
                yield owner, entry


def _refuse_lack(error: OSError) -> None:
    if error.errno in _LACKING:
        raise error


def read_tree(directory: Path, limits: Limits, only: Tenant | None = None) -> Tree:
    """Reads every file of a policy directory. With `only`, lists other tenants' folders but does not read them. Errors
    in the shape of the tree are in the folders' reports.

    Raises NotADirectoryError or OSError if the directory itself cannot be read, or the system lacks resources to read.
    """
    root = Folder("")
    tenants: dict[Tenant, Folder] = {}
    # Resolve once: if the directory is a link that is switched meanwhile, all files come from one side.
    directory = directory.resolve(strict=True)
    reader = _Reader(directory, limits)
    with os.scandir(directory) as entries:
        found = _policy_entries(entries)
    for entry in found:
        if _is_folder(entry):
            try:
                tenant = parse_tenant(entry.name)
            except InvalidNameError:
                root.report.add(
                    quote(entry.name, 300),
                    0,
                    0,
                    f"`{quote(entry.name)}` is no tenant's name: a folder here is a tenant, {TENANT_GRAMMAR}, "
                    f"or `{INSTANCE}` or `{CALLERS}`",
                )
            else:
                tenants[tenant] = Folder(tenant)
                if only in {None, tenant}:
                    reader.read_tenant(tenants[tenant], entry)
        elif entry.name in _ROOT_FILES:
            reader.read(root, entry.name, entry)
        else:
            _unknown(root, entry.name, entry, _ROOT_FILES)
    if VOCABULARY not in root.files and all(each.file != VOCABULARY for each in root.report.diagnostics):
        root.report.add(VOCABULARY, 0, 0, "is missing: it declares the kinds, actions and relations of all tenants")
    return Tree(root, dict(sorted(tenants.items())))


class _Reader:
    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits

    def read_tenant(self, folder: Folder, place: os.DirEntry[str]) -> None:
        if not self._inside(folder, folder.name, place):
            return
        for entry in self._listed(folder, folder.name, place):
            file = f"{folder.name}/{entry.name}"
            if _is_tests(entry):
                self._read_tests(folder, entry)
            elif entry.name in _files_of(folder.name) and not _is_folder(entry):
                self.read(folder, file, entry)
            else:
                _unknown(folder, file, entry, (*_files_of(folder.name), f"{TESTS}/"))

    def _read_tests(self, folder: Folder, place: os.DirEntry[str]) -> None:
        if not self._inside(folder, f"{folder.name}/{TESTS}", place):
            return
        for entry in self._listed(folder, f"{folder.name}/{TESTS}", place):
            file = f"{folder.name}/{TESTS}/{entry.name}"
            if _is_test(entry.name) and not _is_folder(entry):
                self.read(folder, file, entry)
            else:
                _unknown(folder, file, entry, ("*.yaml",))

    def _listed(self, folder: Folder, name: str, place: os.DirEntry[str]) -> list[os.DirEntry[str]]:
        """The entries of a folder. A folder that cannot be read is an error of its tenant only."""
        try:
            with os.scandir(place) as entries:
                found = list(islice(entries, _ENTRIES + 1))
        except OSError as error:
            _refuse_lack(error)
            folder.report.add(name, 0, 0, f"cannot be read: {error.strerror}")
            return []
        if len(found) > _ENTRIES:
            folder.report.add(name, 0, 0, f"has more than {_ENTRIES} files, its limit")
            return []
        return _policy_entries(found)

    def read(self, folder: Folder, file: str, entry: os.DirEntry[str]) -> None:
        if not self._inside(folder, file, entry):
            return
        room = self._limits.bytes - sum(map(len, folder.files.values()))
        try:
            with (self._directory / file).open("rb") as stream:
                content = stream.read(room + 1)
        except OSError as error:
            _refuse_lack(error)
            folder.report.add(file, 0, 0, f"cannot be read: {error.strerror}")
            return
        if len(content) > room:
            folder.report.add(file, 0, 0, f"takes the folder past its limit of {self._limits.bytes} bytes")
            return
        folder.files[file] = content

    def _inside(self, folder: Folder, file: str, entry: os.DirEntry[str]) -> bool:
        """True if links on the way to `file` stay inside the policy directory. The folder that has the entry is inside."""
        # To resolve each of thousands of files takes as long as to read them.
        if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
            return True
        try:
            target = (self._directory / file).resolve(strict=True)
        except (OSError, RuntimeError):
            folder.report.add(file, 0, 0, "is a link to nowhere")
            return False
        if not target.is_relative_to(self._directory):
            folder.report.add(file, 0, 0, "is a link that leaves the policy directory")
            return False
        # Opening a pipe would wait for its writer, and delay every tenant.
        if not (target.is_file() or target.is_dir()):
            folder.report.add(file, 0, 0, "is neither a file nor a folder")
            return False
        return True


def _files_of(folder: str) -> tuple[str, ...]:
    """The files of a tenant's folder. `_callers` has rows of the access plane only."""
    return _CALLERS_FILES if folder == CALLERS else _TENANT_FILES


def _is_test(name: str) -> bool:
    # A name that cannot be printed (not UTF-8, or with a line break) does not fit in a diagnostic or a revision.
    return name.endswith(".yaml") and name.isprintable()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself; `_inside` reports it


def _policy_entries(entries: Iterable[os.DirEntry[str]]) -> list[os.DirEntry[str]]:
    return sorted((entry for entry in entries if not _IGNORED(entry.name)), key=lambda entry: entry.name)


def _unknown(folder: Folder, file: str, entry: os.DirEntry[str], expected: Iterable[str]) -> None:
    names = ", ".join(f"`{each}`" for each in expected)
    shown = quote(entry.name)
    known = [each.replace("*", Path(shown).stem) for each in expected]
    if entry.name in known and entry.is_dir(follow_symlinks=False):
        folder.report.add(file, 0, 0, "is a folder: expected a file")
        return
    hint = did_you_mean(shown, known)
    folder.report.add(quote(file, 300), 0, 0, f"unknown file `{shown}`: expected one of {names}{hint}")


def _digest(*folders: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(REVISION_FORMAT)
    for path, content in sorted((path, content) for files in folders for path, content in files.items()):
        digest.update(f"{len(path.encode())}:{path}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
