"""Policy directories as git remembers them, read through the git program and without touching the working tree."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from remit.core.errors import RemitError
from remit.core.names import quote
from remit.policy.limits import Limits
from remit.policy.source import Tree, read_tree

_LINK: Final = b"120000"
_SUBMODULE: Final = b"160000"
_ABOUT: Final = 3
"""Words before a blob: name, type, size."""


class GitError(RemitError):
    """There is no git program, no repository, or in it no such directory. The message says which."""


class _Entry(NamedTuple):
    mode: bytes
    blob: bytes
    path: PurePosixPath


class Repository:
    """The git repository around a directory, which need not exist itself."""

    def __init__(self, directory: Path) -> None:
        """Raises GitError where there is no git program, or no repository."""
        directory = directory.absolute()
        inside = next(each for each in (directory, *directory.parents) if each.is_dir())
        self.top = Path(os.fsdecode(_git(inside, "rev-parse", "--show-toplevel").removesuffix(b"\n")))

    def commit(self, revision: str) -> str | None:
        """The full name of the commit that a revision means; None where it means none."""
        if revision.startswith("-"):
            return None
        found = _git(self.top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", missing=b"")
        return found.decode().strip() or None

    def place(self, directory: Path) -> str:
        """A directory as git names it: from the top of the repository, the empty text for the top itself.

        Raises GitError where it is outside.
        """
        try:
            place = directory.resolve().relative_to(self.top.resolve()).as_posix()
        except ValueError:
            raise GitError(f"`{directory}` is outside of the git repository `{self.top}`") from None
        return "" if place == "." else place

    def tree(self, commit: str, place: str, limits: Limits) -> Tree:
        """The policy directory as it was in a commit, as `read_tree` reads it.

        Raises GitError where the commit has no such directory, or one that cannot be a directory of files.
        """
        entries = list(self._entries(commit, place))
        contents = self._contents(entries)
        with TemporaryDirectory(prefix="remit-") as directory:
            try:
                # Links last: no file is ever written through one.
                for entry in sorted(entries, key=lambda entry: entry.mode == _LINK):
                    _write(Path(directory) / entry.path, entry, contents[entry.blob])
            except OSError as error:
                raise GitError(f"`{commit[:12]}:{place}` cannot be read: {error.strerror or error}") from None
            return read_tree(Path(directory), limits)

    def _entries(self, commit: str, place: str) -> Iterator[_Entry]:
        if _git(self.top, "cat-file", "-t", f"{commit}:{place}", missing=b"").strip() != b"tree":
            raise GitError(f"commit {commit[:12]} has no directory `{place or '.'}`")
        listed = _git(self.top, "ls-tree", "-r", "-z", "--full-tree", f"{commit}:{place}")
        for line in listed.split(b"\0")[:-1]:
            about, _, name = line.partition(b"\t")
            mode, _, blob = about.split(b" ")
            path = PurePosixPath(os.fsdecode(name))
            if mode == _SUBMODULE or path.is_absolute() or ".." in path.parts:
                raise GitError(
                    f"`{quote(str(path))}` of commit {commit[:12]} is no file: git says mode {mode.decode()}"
                )
            yield _Entry(mode, blob, path)

    def _contents(self, entries: list[_Entry]) -> Mapping[bytes, bytes]:
        """The bytes of each blob."""
        wanted = b"".join(entry.blob + b"\n" for entry in entries)
        answer = _git(self.top, "cat-file", "--batch", given=wanted)
        contents: dict[bytes, bytes] = {}
        start = 0
        for entry in entries:
            end = answer.find(b"\n", start)
            told = answer[start:end].split(b" ")
            # Of an object that is not there or damaged git says so in place of type and size, or says no more.
            if end < 0 or len(told) != _ABOUT:
                raise GitError(f"git cannot read `{quote(str(entry.path))}`: object {entry.blob.decode()} is broken")
            length = int(told[2])
            contents[entry.blob] = answer[end + 1 : end + 1 + length]
            start = end + length + 2
        return contents


def _write(path: Path, entry: _Entry, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if entry.mode == _LINK:
        path.symlink_to(os.fsdecode(content))
    else:
        path.write_bytes(content)


def _git(directory: Path, *words: str, given: bytes = b"", missing: bytes | None = None) -> bytes:
    """What git prints; with `missing`, that where it fails. Raises GitError with git's own words."""
    try:
        done = subprocess.run(  # noqa: S603 (a fixed program and no shell)
            ["git", "-C", str(directory), *words],  # noqa: S607 (the user's own git)
            input=given,
            capture_output=True,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise GitError("a git revision needs the `git` program, which is not on the PATH") from None
    if done.returncode == 0:
        return done.stdout
    if missing is not None:
        return missing
    said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
    raise GitError(f"git in `{directory}`: {said or f'exit code {done.returncode}'}")
