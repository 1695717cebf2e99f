"""Policy directories from git history, read through the git program. Leaves the working tree alone.

Anyone who can write a policy directory can also write git's configuration there. So no git command here starts a
program that the configuration names.
"""

import hashlib
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from remit.core.errors import RemitError
from remit.core.names import Tenant, quote
from remit.policy.read.limits import Limits
from remit.policy.read.tree import Tree, is_policy_file, read_tree

DIRTY: Final = "-dirty"
"""Suffix of a commit, as git writes it: the files differ from the commit's."""

_LINK: Final = b"120000"
_SUBMODULE: Final = b"160000"
_CHECKOUT_S: Final = 5.0
"""Timeout for git beside a server. Without an answer, a revision is stored without its commit."""
_RUNS_NOTHING: Final = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_ENVIRONMENT: Final = {
    "LC_ALL": "C",
    "GIT_OPTIONAL_LOCKS": "0",
    # In a partial clone, git would fetch a missing object with a program that the configuration names. An older git
    # knows only the second variable.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
}
_SHA1_LENGTH: Final = 40
"""Hexadecimal digits of an object id with SHA-1; longer ids are SHA-256."""


class GitError(RemitError):
    """There is no git program, no repository, or no such directory in the repository. The message says which."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """The commit that is checked out around a directory."""

    commit: str
    blobs: Mapping[str, str]
    """Ids of the policy files in the commit, by path below the directory."""

    @classmethod
    def of(cls, directory: Path) -> "Checkout | None":
        """The checkout around `directory`; None if there is no commit, or no git program."""
        try:
            commit = _git(directory, "rev-parse", "--verify", "--quiet", "HEAD", timeout_s=_CHECKOUT_S)
            name = commit.decode().strip()
            listed = _git(directory, "ls-tree", "-r", "-z", name, timeout_s=_CHECKOUT_S)
        except GitError:
            return None
        entries = list(_listed(listed))
        return cls(name, {path: blob.decode() for _, blob, path in entries if is_policy_file(path)})

    def name_of(self, root: Mapping[str, bytes], tenant: Tenant, folder: Mapping[str, bytes]) -> str:
        """The commit, plus DIRTY unless the root's and the tenant's files are byte for byte equal to the commit's. Both
        mappings are by path below the directory."""
        committed = {
            path: blob for path, blob in self.blobs.items() if path.partition("/")[0] == tenant or "/" not in path
        }
        read = {path: self._blob(content) for path, content in {**root, **folder}.items()}
        return self.commit if committed == read else self.commit + DIRTY

    def _blob(self, content: bytes) -> str:
        """The id that git gives to a file with these bytes. A filter or changed line ends make it another file."""
        make = hashlib.sha1 if len(self.commit) == _SHA1_LENGTH else hashlib.sha256
        return make(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def commit_of(directory: Path, tree: Tree) -> str:
    """The commit of all files, with DIRTY behind it if one of them differs from it; '' without git."""
    checkout = Checkout.of(directory)
    if checkout is None:
        return ""
    names = {checkout.name_of(tree.root.files, tenant, folder.files) for tenant, folder in tree.tenants.items()}
    return checkout.commit if names == {checkout.commit} else checkout.commit + DIRTY


class _Entry(NamedTuple):
    mode: bytes
    blob: bytes
    path: PurePosixPath


class Repository:
    """The git repository around a directory. The directory itself need not exist."""

    def __init__(self, directory: Path) -> None:
        """Raises GitError if there is no git program, or no repository."""
        directory = directory.absolute()
        inside = next(each for each in (directory, *directory.parents) if each.is_dir())
        self.top = Path(os.fsdecode(_git(inside, "rev-parse", "--show-toplevel").removesuffix(b"\n")))

    def commit(self, revision: str) -> str | None:
        """The full name of the commit that a revision names; None if it names none."""
        if revision.startswith("-"):
            return None
        found = _git(self.top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", missing=b"")
        return found.decode().strip() or None

    def contains(self, commit: str, ancestor: str) -> bool | None:
        """Whether a commit has another one among its ancestors, or is the same. None if the repository does not hold both."""
        if self.commit(commit) is None or self.commit(ancestor) is None:
            return None
        return _git(self.top, "merge-base", "--is-ancestor", ancestor, commit, missing=b"no") != b"no"

    def place(self, directory: Path) -> str:
        """The path of a directory from the top of the repository, as git names it; empty for the top itself.

        Raises GitError if the directory is outside the repository.
        """
        try:
            place = directory.resolve().relative_to(self.top.resolve()).as_posix()
        except ValueError:
            raise GitError(f"`{directory}` is outside of the git repository `{self.top}`") from None
        return "" if place == "." else place

    def tree(self, commit: str, place: str, limits: Limits) -> Tree:
        """The policy directory at a commit, read like `read_tree`.

        Raises GitError if the commit does not have the directory, or the directory cannot be written as files.
        """
        entries = list(self._entries(commit, place))
        contents = self._contents(entries)
        with TemporaryDirectory(prefix="remit-") as directory:
            try:
                # Links come last, so that no file is ever written through one.
                for entry in sorted(entries, key=lambda entry: entry.mode == _LINK):
                    _write(Path(directory) / entry.path, entry, contents[entry.blob])
            except OSError as error:
                raise GitError(f"`{commit[:12]}:{place}` cannot be read: {error.strerror or error}") from None
            return read_tree(Path(directory), limits)

    def _entries(self, commit: str, place: str) -> Iterator[_Entry]:
        if _git(self.top, "cat-file", "-t", f"{commit}:{place}", missing=b"").strip() != b"tree":
            raise GitError(f"commit {commit[:12]} has no directory `{place or '.'}`")
        listed = _git(self.top, "ls-tree", "-r", "-z", "--full-tree", f"{commit}:{place}")
        for mode, blob, name in _listed(listed):
            path = PurePosixPath(name)
            if mode == _SUBMODULE or path.is_absolute() or ".." in path.parts:
                raise GitError(
                    f"`{quote(str(path))}` of commit {commit[:12]} is no file: git says mode {mode.decode()}"
                )
            yield _Entry(mode, blob, path)

    def _contents(self, entries: list[_Entry]) -> Mapping[bytes, bytes]:
        wanted = b"".join(entry.blob + b"\n" for entry in entries)
        answer = _git(self.top, "cat-file", "--batch", given=wanted)
        contents: dict[bytes, bytes] = {}
        start = 0
        for entry in entries:
            end = answer.find(b"\n", start)
            kind, _, size = answer[start:end].partition(b" ")[2].partition(b" ")
            if kind == b"missing":
                raise GitError(
                    f"the repository does not hold all of the commit: `{quote(str(entry.path))}` is missing (a partial "
                    "clone?): check the commit out with git first"
                )
            # If an object is damaged, git prints an error in place of its type, or nothing more.
            if end < 0 or kind != b"blob":
                raise GitError(f"git cannot read `{quote(str(entry.path))}`: object {entry.blob.decode()} is broken")
            length = int(size)
            contents[entry.blob] = answer[end + 1 : end + 1 + length]
            start = end + length + 2
        return contents


def _write(path: Path, entry: _Entry, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode == _LINK:
        path.symlink_to(os.fsdecode(content))
    else:
        path.write_bytes(content)


def _listed(listed: bytes) -> Iterator[tuple[bytes, bytes, str]]:
    """Mode, blob and path of the lines of `ls-tree -z`."""
    for line in listed.split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, _, blob = about.split(b" ")
        yield mode, blob, os.fsdecode(name)


def _git(
    directory: Path, *words: str, given: bytes = b"", missing: bytes | None = None, timeout_s: float | None = None
) -> bytes:
    """The output of git. If git fails: `missing` if it is given; otherwise raises GitError with git's message."""
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program and no shell)
            ["git", "-C", str(directory), *_RUNS_NOTHING, *words],  # noqa: S607 (the user's own git)
            input=given,
            capture_output=True,
            check=False,
            env={**os.environ, **_ENVIRONMENT},
            timeout=timeout_s,
        )
    except FileNotFoundError:
        raise GitError("a git revision needs the `git` program, which is not on the PATH") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise GitError(f"git in `{directory}`: {error}") from None
    if done.returncode == 0:
        return done.stdout
    if missing is not None:
        return missing
    message = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
    raise GitError(f"git in `{directory}`: {message or f'exit code {done.returncode}'}")
