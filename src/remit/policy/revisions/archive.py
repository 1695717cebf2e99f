"""The archive of a revision: a zip of the root's and one tenant's files. Unpacked, it is a policy directory again."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Self

from remit.core.errors import RemitError
from remit.core.names import Tenant
from remit.policy.read.tree import Folder, Tree

_ABOUT: Final = ".kept.json"
# Timestamps of members would make equal files different bytes; the timestamp is in _ABOUT.
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)


class RevisionNotStoredError(RemitError):
    """There is no such revision, or its stored files are damaged."""


class RevisionNotLoadableError(RevisionNotStoredError):
    """The revision is stored, and this version of remit cannot load it."""


@dataclass(frozen=True, slots=True)
class StoredRevision:
    revision: str
    kept_us: int
    """When it loaded, in microseconds since the Unix epoch."""
    source: str
    """The policy directory that it was read from."""
    commit: str
    """The git commit that was checked out there; '' if there was none."""


@dataclass(frozen=True, slots=True)
class Archive:
    tenant: Tenant
    about: StoredRevision
    content: bytes

    @classmethod
    def of(cls, tree: Tree, tenant: Tenant, kept_us: int, source: str, commit: str) -> Self:
        about = StoredRevision(tree.revision(tenant), kept_us, source, commit)
        files = {_ABOUT: json.dumps(asdict(about)).encode(), **tree.root.files, **tree.tenants[tenant].files}
        return cls(tenant, about, pack(files))


def read_archive(
    name: str, content: Path | bytes, tenant: Tenant, revision: str, most_bytes: int | None = None
) -> Tree:
    """The files of an archive, whose hash must equal the revision. `name` is for errors.

    Raises RevisionNotStoredError if the archive is damaged, or unpacks to more than `most_bytes`.
    """
    root, folder = Folder(""), Folder(tenant)
    for file, text in unpack(name, content, most_bytes=most_bytes).items():
        if file != _ABOUT:
            (folder if "/" in file else root).files[file] = text
    if not all(file.startswith(f"{tenant}/") for file in folder.files):
        raise RevisionNotStoredError(f"{name} is damaged: it has files of another tenant")
    tree = Tree(root, {tenant: folder})
    if tree.revision(tenant) != revision:
        raise RevisionNotStoredError(f"{name} is damaged: its files do not have the hash in its name")
    return tree


def read_about(name: str, content: Path | bytes, revision: str) -> StoredRevision:
    """Raises RevisionNotStoredError if the archive is damaged."""
    try:
        fields = json.loads(unpack(name, content, _ABOUT)[_ABOUT])
        return StoredRevision(revision, int(fields["kept_us"]), str(fields["source"]), str(fields["commit"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RevisionNotStoredError(f"{name} is damaged: {error}") from None


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zip of these files, by path. Equal files make equal members."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file, content in sorted(files.items()):
            member = zipfile.ZipInfo(file, _NO_TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            archive.writestr(member, content)
    return packed.getvalue()


def unpack(name: str, content: Path | bytes, *only: str, most_bytes: int | None = None) -> dict[str, bytes]:
    """The files of a zip, or `only` these. `name` is for errors.

    Raises RevisionNotStoredError if the zip is damaged, or unpacks to more than `most_bytes`.
    """
    file: Any = BytesIO(content) if isinstance(content, bytes) else content
    try:
        with zipfile.ZipFile(file) as archive:
            # zipfile reads no more of a member than its entry says.
            size = sum(member.file_size for member in archive.infolist())
            if most_bytes is not None and size > most_bytes:
                raise RevisionNotStoredError(f"{name} is damaged: it holds {size} bytes, expected at most {most_bytes}")
            return {member: archive.read(member) for member in only or archive.namelist()}
    except FileNotFoundError:
        raise RevisionNotStoredError(f"{name} is not there") from None
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, RuntimeError) as error:
        raise RevisionNotStoredError(f"{name} is damaged: {error}") from None
