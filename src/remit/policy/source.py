import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from remit.core.errors import InvalidNameError, RemitError
from remit.core.names import INSTANCE, TENANT_GRAMMAR, Tenant, parse_tenant, quote
from remit.engine.pace import Pace, at_once
from remit.policy.limits import Limits
from remit.policy.report import Report, did_you_mean

REVISION_FORMAT: Final = b"remit policy 1\n"
"""Changes when the same files come to mean something else."""

VOCABULARY: Final = "vocabulary.yaml"
ROLES: Final = "roles.csv"
BINDINGS: Final = "bindings.csv"
REACH: Final = "reach.csv"
RESOURCES: Final = "resources.yaml"
MANIFEST: Final = "tenant.yaml"
TESTS: Final = "tests"
GIT: Final = ".git"

Stamp = frozenset[tuple[str | int, ...]] | None

_READINGS: Final = 10
_FIRST_PAUSE_S: Final = 0.02

_ROOT_FILES: Final = (VOCABULARY, ROLES, RESOURCES)
_TENANT_FILES: Final = (ROLES, BINDINGS, REACH, MANIFEST)

_IGNORED = re.compile(r"\..*|README(\..*)?|.*~|#.*#|.*\.(swp|swo|bak)", re.DOTALL).fullmatch


class UnsettledError(RemitError):
    """The policy directory changed each time that it was read."""


@dataclass(slots=True)
class Folder:
    """The files of the root or of one tenant as they were read: bytes by path below the policy directory."""

    name: str
    files: dict[str, bytes] = field(default_factory=dict)
    report: Report = field(default_factory=Report)

    def get(self, file: str) -> bytes | None:
        return self.files.get(f"{self.name}/{file}" if self.name else file)

    @property
    def digest(self) -> str:
        """SHA-256 over its files alone."""
        return _digest(self.files)


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


def read_settled(directory: Path, limits: Limits) -> Tree:
    """As `read_tree`, of one moment: what changed while it was read is read again.

    Raises UnsettledError where it does not come to rest, and as `read_tree`.
    """
    pause_s = _FIRST_PAUSE_S
    for _ in range(_READINGS):
        before = stamp(directory)
        try:
            tree = read_tree(directory, limits)
        except OSError:
            if before == stamp(directory):
                raise
        else:
            if before == stamp(directory):
                return tree
        time.sleep(pause_s)
        pause_s *= 1.5
    raise UnsettledError(f"policy directory `{directory}` changed each of {_READINGS} times that it was read")


def stamp(directory: Path, pace: Pace = at_once) -> Stamp:
    """What tells whether anything below the directory has changed: each entry's place, size and times. None where
    there is no directory."""
    try:
        top = directory.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    found: set[tuple[str | int, ...]] = {(str(top),)}
    for folder, folders, files in pace(os.walk(top)):
        folders[:] = [name for name in folders if name != GIT]
        for name in (*folders, *files):
            path = os.path.join(folder, name)  # noqa: PTH118 (a Path for each entry costs as much as its lstat)
            try:
                seen = os.lstat(path)
            except OSError:
                continue
            found.add((path, seen.st_mode, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns))
    return frozenset(found)


def read_tree(directory: Path, limits: Limits) -> Tree:
    """Reads every file of a policy directory. What is wrong with the tree's shape is in the folders' reports.

    Raises NotADirectoryError or OSError where the directory itself cannot be read.
    """
    root = Folder("")
    tenants: dict[Tenant, Folder] = {}
    # Resolved once: where the directory is a link that is switched meanwhile, all of this is of one side.
    directory = directory.resolve(strict=True)
    reader = _Reader(directory, limits)
    for entry in _entries(directory):
        if _is_folder(entry):
            try:
                tenant = parse_tenant(entry.name)
            except InvalidNameError:
                root.report.add(
                    quote(entry.name, 300),
                    0,
                    0,
                    f"`{quote(entry.name)}` is no tenant's name: a folder here is a tenant, {TENANT_GRAMMAR}, "
                    f"or `{INSTANCE}`",
                )
            else:
                tenants[tenant] = Folder(tenant)
                reader.read_tenant(tenants[tenant], Path(entry.path))
        elif entry.name in _ROOT_FILES:
            reader.read(root, entry.name)
        else:
            _unknown(root, entry.name, entry.name, _ROOT_FILES)
    if VOCABULARY not in root.files and all(each.file != VOCABULARY for each in root.report.diagnostics):
        root.report.add(VOCABULARY, 0, 0, "is missing: it declares the kinds, actions and relations of all tenants")
    return Tree(root, dict(sorted(tenants.items())))


class _Reader:
    def __init__(self, directory: Path, limits: Limits) -> None:
        self._directory = directory
        self._limits = limits

    def read_tenant(self, folder: Folder, path: Path) -> None:
        if not self._inside(folder, folder.name):
            return
        for entry in self._listed(folder, folder.name, path):
            file = f"{folder.name}/{entry.name}"
            if entry.name == TESTS and _is_folder(entry):
                self._read_tests(folder, path / TESTS)
            elif entry.name in _TENANT_FILES and not _is_folder(entry):
                self.read(folder, file)
            else:
                _unknown(folder, file, entry.name, (*_TENANT_FILES, f"{TESTS}/"))

    def _read_tests(self, folder: Folder, path: Path) -> None:
        if not self._inside(folder, f"{folder.name}/{TESTS}"):
            return
        for entry in self._listed(folder, f"{folder.name}/{TESTS}", path):
            file = f"{folder.name}/{TESTS}/{entry.name}"
            # A name that cannot be printed (not UTF-8, a line break) has no place in a diagnostic or a revision.
            if entry.name.endswith(".yaml") and entry.name.isprintable() and not _is_folder(entry):
                self.read(folder, file)
            else:
                _unknown(folder, file, entry.name, ("*.yaml",))

    def _listed(self, folder: Folder, name: str, path: Path) -> list[os.DirEntry[str]]:
        """A folder that cannot be read is its tenant's trouble alone."""
        try:
            return list(_entries(path))
        except OSError as error:
            folder.report.add(name, 0, 0, f"cannot be read: {error.strerror}")
            return []

    def read(self, folder: Folder, file: str) -> None:
        if not self._inside(folder, file):
            return
        room = self._limits.bytes - sum(map(len, folder.files.values()))
        try:
            with (self._directory / file).open("rb") as stream:
                content = stream.read(room + 1)
        except OSError as error:
            folder.report.add(file, 0, 0, f"cannot be read: {error.strerror}")
            return
        if len(content) > room:
            folder.report.add(file, 0, 0, f"takes the folder past its limit of {self._limits.bytes} bytes")
            return
        folder.files[file] = content

    def _inside(self, folder: Folder, file: str) -> bool:
        """Whether links on the way to `file` stay inside the policy directory."""
        try:
            target = (self._directory / file).resolve(strict=True)
        except (OSError, RuntimeError):
            folder.report.add(file, 0, 0, "is a link to nowhere")
            return False
        if not target.is_relative_to(self._directory):
            folder.report.add(file, 0, 0, "is a link that leaves the policy directory")
            return False
        # Opening a pipe would wait for its writer, and hold up every tenant.
        if not (target.is_file() or target.is_dir()):
            folder.report.add(file, 0, 0, "is neither a file nor a folder")
            return False
        return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link to itself; `_inside` says so


def _entries(path: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(path) as entries:
        yield from sorted((entry for entry in entries if not _IGNORED(entry.name)), key=lambda entry: entry.name)


def _unknown(folder: Folder, file: str, name: str, expected: Iterable[str]) -> None:
    names = ", ".join(f"`{each}`" for each in expected)
    hint = did_you_mean(name, expected)
    folder.report.add(quote(file, 300), 0, 0, f"unknown file `{quote(name)}`: expected one of {names}{hint}")


def _digest(*folders: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(REVISION_FORMAT)
    for path, content in sorted((path, content) for files in folders for path, content in files.items()):
        digest.update(f"{len(path.encode())}:{path}{len(content)}:".encode())
        digest.update(content)
    return digest.hexdigest()
