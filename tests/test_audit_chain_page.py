"""docs/reference/audit-chain.md says what the program does: its vectors, recomputed by others and by us."""

import hashlib
import re
import subprocess
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from support.audit_records import linked

from remit.audit.chain.chain import DECISIONS, LIFECYCLE, ChainId, Head, genesis, link_lifecycle
from remit.audit.chain.signing import Checkpoint, PublicKey, Tombstone
from remit.audit.record import DecisionRecord, LifecycleRecord

PAGE = (Path(__file__).parent.parent / "docs" / "reference" / "audit-chain.md").read_text()
_BLOCK = re.compile(r"^```text (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_IDS = {"id", "call_id"}
_NUMBERS = {"time_us", "latency_ns", "batch_index"}
_LINES = {
    DECISIONS: (
        *(
            "time_us",
            "node",
            "caller",
            "on_behalf_of",
            "tenant",
            "revision",
            "call_id",
            "trace_id",
            "question",
            "detail",
        ),
        *("id", "namespace", "principal", "action", "kind", "resource_id"),
        *("effect", "reason", "rule", "latency_ns", "batch_index"),
    ),
    LIFECYCLE: ("id", "time_us", "node", "type", "tenant", "revision", "detail"),
}


def _vectors() -> dict[str, str]:
    return {name: text.removesuffix("\n") for name, text in _BLOCK.findall(PAGE)}


def test_hashes_on_the_chain_page_match_its_texts(tmp_path: Path) -> None:
    """By coreutils, and by nothing of ours."""
    vectors = _vectors()
    hashed = [name for name in vectors if f"{name}.sha256" in vectors]
    for name in hashed:
        (tmp_path / name).write_text(f"{vectors[name]}\n")
        command = f"head -c -1 {name} | sha256sum"
        done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert f"{vectors[f'{name}.sha256']}  -\n" == done.stdout, name

    assert ["genesis", "decision-1", "decision-2", "lifecycle-1"] == hashed
    assert vectors["genesis.sha256"] == vectors["decision-1"].splitlines()[0]
    assert vectors["decision-1.sha256"] == vectors["decision-2"].splitlines()[0]
    key = bytes.fromhex(vectors["public-key"])
    assert vectors["key-id"] == hashlib.sha256(key).hexdigest()[:16]
    for name in ("checkpoint", "tombstone"):
        Ed25519PublicKey.from_public_bytes(key).verify(
            bytes.fromhex(vectors[f"{name}.signature"]), vectors[name].encode()
        )


def test_program_makes_the_texts_on_the_chain_page() -> None:
    vectors = _vectors()
    chain = ChainId(DECISIONS, "acme", "node-1")
    head = genesis(chain)
    assert vectors["genesis.sha256"] == head.hash.hex()
    for name, table, link, record in (
        ("decision-1", DECISIONS, linked, DecisionRecord),
        ("decision-2", DECISIONS, linked, DecisionRecord),
        ("lifecycle-1", LIFECYCLE, link_lifecycle, LifecycleRecord),
    ):
        previous, seq, *lines = vectors[name].splitlines()
        values = dict(zip(_LINES[table], lines, strict=True))
        fields = {
            field: bytes.fromhex(value) if field in _IDS else int(value) if field in _NUMBERS else value
            for field, value in values.items()
        }
        behind = Head(int(seq) - 1, bytes.fromhex(previous))
        head, _ = link([record(**fields)], behind)  # type: ignore[operator]
        assert vectors[f"{name}.sha256"] == head.hash.hex()
    for name, statement in (("checkpoint", Checkpoint), ("tombstone", Tombstone)):
        _, *lines = vectors[name].splitlines()
        values = [
            bytes.fromhex(value) if "hash" in field else int(value) if field.endswith(("seq", "us")) else value
            for field, value in zip(statement._fields, lines, strict=False)
        ]
        signed = statement(*values, bytes.fromhex(vectors[f"{name}.signature"]))  # type: ignore[arg-type]
        assert vectors[name] == signed.text
        assert PublicKey.parse(vectors["public-key"]).made(signed.signature, signed.text)


def test_chain_page_names_the_lines_of_a_text_in_order() -> None:
    for title, table, count in (("A decision", DECISIONS, 23), ("A lifecycle record", LIFECYCLE, 9)):
        told = re.search(rf"\*\*{title}\*\* is the hash before it, `seq`,(.*?): {count} lines", PAGE, re.DOTALL)
        assert told
        assert [*_LINES[table]] == re.findall(r"`(\w+)`", told[1])
