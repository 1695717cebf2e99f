"""Releases: what a whole fleet serves, each linked to the one before and signed. docs/reference/releases.md has the format."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final, Self

from remit.audit.chain.signing import PublicKey, SigningKey
from remit.core.errors import InvalidNameError
from remit.core.names import Tenant, parse_tenant
from remit.fleet.errors import ForgedReleaseError
from remit.strict_json import parse_object

FORMAT: Final = 1
"""Change this when nodes of an older version cannot read a release."""
READABLE: Final = frozenset({FORMAT})
DIRECTORY: Final = "directory"
"""The origin of a release that a server made of its policy directory."""
FIRST: Final = ""
"""What the first release of a store follows."""

_TITLE: Final = "remit release 1\n"
_DIGITS: Final = 64
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Release:
    """The files of all tenants at one time: what `remit publish` commits."""

    seq: int
    """From 1, without gaps."""
    previous: str
    """The hash of the release before; FIRST for none."""
    root: str
    """The digest of the root files."""
    tenants: Mapping[Tenant, str]
    """The digests of the tenants' folders."""
    published_us: int
    publisher: str
    message: str = ""
    commit: str = ""
    """The git commit that was checked out; '' for none."""
    repeats: int = 0
    """The earlier release whose files these are, for a rollback; 0 for none."""
    origin: str = ""
    """DIRECTORY, or '' for `remit publish`."""
    format: int = FORMAT

    @property
    def text(self) -> str:
        """The canonical text: JSON with sorted members and without blanks."""
        members = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(members, sort_keys=True, separators=(",", ":"))

    @property
    def hash(self) -> str:
        """SHA-256 of the text, 64 hexadecimal digits."""
        return hash_of(self.text)

    @classmethod
    @lru_cache(2)
    def parse(cls, text: str) -> Self:
        """The last ones are not parsed again: each pull reads the newest. Raises ForgedReleaseError if the text is not the canonical text of a release."""
        try:
            members = parse_object(text.encode())
            release = cls(**_checked(members))
        except (TypeError, ValueError, KeyError, InvalidNameError) as error:
            raise ForgedReleaseError(f"a release is malformed: {error}") from None
        if release.text != text:
            raise ForgedReleaseError("a release is malformed: its text is not the canonical one")
        return release


@dataclass(frozen=True, slots=True)
class SignedRelease:
    release: Release
    key_id: str = ""
    """'' if it is not signed."""
    signature: bytes = b""

    @classmethod
    def of(cls, release: Release, key: SigningKey | None) -> Self:
        if key is None:
            return cls(release)
        return cls(release, key.public.id, key.sign(_statement(release.hash)))

    def require_signature(self, keys: Iterable[PublicKey]) -> None:
        """Raises ForgedReleaseError unless one of these keys signed the release. Without keys nothing is required."""
        known = {key.id: key for key in keys}
        if not known:
            return
        seq = self.release.seq
        if not self.key_id:
            raise ForgedReleaseError(f"release {seq} is not signed, and `policy_keys` asks for a signature")
        if self.key_id not in known:
            raise ForgedReleaseError(f"release {seq} is signed by key `{self.key_id}`, which is not in `policy_keys`")
        if not known[self.key_id].made(self.signature, _statement(self.release.hash)):
            raise ForgedReleaseError(f"release {seq} has a signature that key `{self.key_id}` did not make")


def hash_of(text: str) -> str:
    return sha256((_TITLE + text).encode()).hexdigest()


def _statement(release_hash: str) -> str:
    return _TITLE + release_hash


def _checked(members: dict[str, Any]) -> dict[str, Any]:
    """The fields of a release. Raises ValueError, InvalidNameError or KeyError."""
    for name, kind in Release.__annotations__.items():
        expected = dict if name == "tenants" else kind
        if type(members[name]) is not expected:
            raise ValueError(f"`{name}` is no {expected.__name__}")
    tenants = {parse_tenant(name): digest for name, digest in members["tenants"].items()}
    for digest in (members["root"], *tenants.values(), *filter(None, (members["previous"],))):
        if not isinstance(digest, str) or len(digest) != _DIGITS or not _HEX.issuperset(digest):
            raise ValueError("a digest is not 64 hexadecimal digits")
    if members["seq"] < 1 or (members["seq"] == 1) != (members["previous"] == FIRST):
        raise ValueError("`seq` and `previous` do not fit together")
    return members | {"tenants": tenants}
