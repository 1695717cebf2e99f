import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from remit.audit.chain.chain import DECISIONS, ChainId, genesis
from remit.audit.chain.signing import AuditKeyError, Checkpoint, PublicKey, SigningKey, Tombstone, public_file, signed

CHAIN = ChainId(DECISIONS, "acme", "node-1")
CHECKPOINT = Checkpoint(*CHAIN, 7, b"h" * 32, *genesis(CHAIN), time_us=1_795_436_096_000_000)
TOMBSTONE = Tombstone("acme", "node-1", 7, b"h" * 32, before_us=1_795_000_000_000_000, time_us=1_795_436_096_000_000)


def test_a_key_is_written_once_for_its_owner_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "audit.pem"
    key = SigningKey.new(path)

    assert 16 == len(key.public.id)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert key.public == SigningKey.read(path).public == PublicKey.read(public_file(path))
    assert key.public == PublicKey.parse(key.public.raw.hex())
    before = path.read_bytes()
    with pytest.raises(AuditKeyError, match="exists"):
        SigningKey.new(path)
    assert before == path.read_bytes()


def test_no_key_is_created_over_a_public_half(tmp_path: Path) -> None:
    path = tmp_path / "audit.pem"
    public_file(path).write_text("somebody's")
    with pytest.raises(AuditKeyError, match=r"audit\.pem\.pub` exists"):
        SigningKey.new(path)
    assert [public_file(path)] == list(tmp_path.iterdir())


@pytest.mark.parametrize("statement", [CHECKPOINT, TOMBSTONE])
def test_a_signature_holds_for_every_field(statement: Checkpoint | Tombstone, tmp_path: Path) -> None:
    key, other = SigningKey.new(tmp_path / "one"), SigningKey.new(tmp_path / "other")
    made = signed(statement, key)

    assert key.public.made(made.signature, made.text)
    assert not other.public.made(made.signature, made.text)
    for name in made._fields[:-1]:
        value = getattr(made, name)
        altered = made._replace(**{name: value + type(value)(1) if isinstance(value, (int, bytes)) else f"{value}x"})
        assert not key.public.made(made.signature, altered.text), name


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "holds no private key in PEM: make one with `remit audit key new FILE`"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds no private key"),
        ("rsa", "of another kind: expected Ed25519"),
        ("locked", "locked with a passphrase"),
        (None, "cannot be read: No such file"),
    ],
)
def test_file_without_a_key_is_reported_with_what_to_do(content: bytes | str | None, told: str, tmp_path: Path) -> None:
    path = tmp_path / "key"
    if isinstance(content, str):
        locked = BestAvailableEncryption(b"secret") if content == "locked" else NoEncryption()
        content = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked)
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AuditKeyError, match=told):
        SigningKey.read(path)


def test_private_key_is_refused_as_public_key(tmp_path: Path) -> None:
    SigningKey.new(tmp_path / "key")
    with pytest.raises(AuditKeyError, match=r"expected the file that `remit audit key new` wrote"):
        PublicKey.read(tmp_path / "key")
    with pytest.raises(AuditKeyError, match="expected 64 hex digits"):
        PublicKey.parse("5e" * 31)
