"""Ed25519 keys, and the texts they sign: checkpoints and tombstones. docs/reference/audit-chain.md specifies both."""

import os
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from remit.audit.chain.chain import ChainId, Head, purged_chain
from remit.files import secret_problem

PUBLIC_SUFFIX: Final = ".pub"
_CHECKPOINT: Final = "remit checkpoint 1"
_TOMBSTONE: Final = "remit tombstone 1"
_ID_DIGITS: Final = 16
_RAW_BYTES: Final = 32


class AuditKeyError(Exception):
    """A key cannot be read, written or used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    raw: bytes
    """32 bytes, as RFC 8032 writes them."""

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a PEM file. Raises AuditKeyError if there is none or it holds something else."""
        try:
            key = load_pem_public_key(_content(path))
        except ValueError as error:
            raise AuditKeyError(
                f"`{path}` holds no public key in PEM: expected the file that `remit audit key new` wrote beside the "
                "private key, `FILE.pub`"
            ) from error
        if not isinstance(key, Ed25519PublicKey):
            raise AuditKeyError(f"`{path}` holds a public key of another kind: expected Ed25519")
        return cls(key.public_bytes_raw())

    @classmethod
    def parse(cls, digits: str) -> Self:
        """Parses 64 hex digits. Raises AuditKeyError for any other text."""
        try:
            raw = bytes.fromhex(digits)
        except ValueError:
            raw = b""
        if len(raw) != _RAW_BYTES:
            raise AuditKeyError(f"`{digits}` is no public key: expected 64 hex digits")
        return cls(raw)

    @property
    def id(self) -> str:
        return sha256(self.raw).hexdigest()[:_ID_DIGITS]

    @property
    def pem(self) -> bytes:
        key = Ed25519PublicKey.from_public_bytes(self.raw)
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def made(self, signature: bytes, text: str) -> bool:
        """Whether this key's private half signed this text."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, text.encode())
        except (InvalidSignature, UnicodeEncodeError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class SigningKey:
    public: PublicKey
    _private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def new(cls, path: Path) -> Self:
        """Makes a key. Writes it to a new file that only its owner can read, and its public half to `FILE.pub`.

        Raises AuditKeyError if either file exists or cannot be written. Neither file is left then.
        """
        private = Ed25519PrivateKey.generate()
        key = cls(PublicKey(private.public_key().public_bytes_raw()), private)
        public = public_file(path)
        if public.exists():
            raise AuditKeyError(f"`{public}` exists, and remit never overwrites a key: name another file")
        _write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        try:
            _write_new(public, key.public.pem, 0o644)
        except AuditKeyError:
            path.unlink()
            raise
        return key

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a PEM file without a passphrase.

        Raises AuditKeyError if there is none, it holds something else, or others may read it.
        """
        try:
            private = load_pem_private_key(_content(path, "; `remit audit key new FILE` makes one"), password=None)
        except TypeError as error:
            raise AuditKeyError(
                f"`{path}` is locked with a passphrase: expected a private key in PEM without"
            ) from error
        except ValueError as error:
            raise AuditKeyError(
                f"`{path}` holds no private key in PEM: make one with `remit audit key new FILE`"
            ) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise AuditKeyError(
                f"`{path}` holds a private key of another kind: expected Ed25519, which `remit audit key new FILE` makes"
            )
        if problem := secret_problem(path):
            raise AuditKeyError(problem)
        return cls(PublicKey(private.public_key().public_bytes_raw()), private)

    def sign(self, text: str) -> bytes:
        return self._private.sign(text.encode())


class Checkpoint(NamedTuple):
    """A signed head. One row of table `checkpoints`, in column order."""

    of_table: str
    tenant: str
    node: str
    seq: int
    hash: bytes
    previous_seq: int
    """The seq that the signer signed before in this chain. 0 for none."""
    previous_hash: bytes
    """The hash of `previous_seq`. The chain's genesis for 0."""
    time_us: int
    key_id: str = ""
    signature: bytes = b""

    @property
    def chain(self) -> ChainId:
        return ChainId(self.of_table, self.tenant, self.node)

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)

    @property
    def previous(self) -> Head:
        return Head(self.previous_seq, self.previous_hash)

    @property
    def text(self) -> str:
        head, previous = (f"{seq}\n{hash_.hex()}" for seq, hash_ in (self.head, self.previous))
        return "\n".join((_CHECKPOINT, *self.chain, head, previous, str(self.time_us), self.key_id))


class Tombstone(NamedTuple):
    """The last record that a purge deleted from a chain (`chain.purged_chain`).

    One row of table `tombstones`, in column order.
    """

    tenant: str
    node: str
    seq: int
    hash: bytes
    before_us: int
    """The cutoff of the purge: it deletes decisions made before this time."""
    time_us: int
    key_id: str = ""
    """'' if there was no key."""
    signature: bytes = b""

    @property
    def chain(self) -> ChainId:
        return purged_chain(self.tenant, self.node)

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)

    @property
    def text(self) -> str:
        times = (str(self.before_us), str(self.time_us))
        return "\n".join((_TOMBSTONE, self.tenant, self.node, str(self.seq), self.hash.hex(), *times, self.key_id))


_Statement = TypeVar("_Statement", Checkpoint, Tombstone)


def signed(statement: _Statement, key: SigningKey) -> _Statement:
    named = statement._replace(key_id=key.public.id)
    return named._replace(signature=key.sign(named.text))


def public_file(path: Path) -> Path:
    return path.with_name(f"{path.name}{PUBLIC_SUFFIX}")


def _content(path: Path, advice: str = "") -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise AuditKeyError(f"the key file `{path}` cannot be read: {error.strerror}{advice}") from error


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise AuditKeyError(f"`{path}` exists, and remit never overwrites a key: name another file") from error
    except OSError as error:
        raise AuditKeyError(f"the key file `{path}` cannot be written: {error.strerror}") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
