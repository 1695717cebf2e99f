"""What a server keeps of names, where its settings say so."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.server import Server, remit, remit_process, until

from remit.audit.redaction import RedactionKey
from remit.v1 import status_service_pb2 as status

VIEW = ("VIEW", "FLOW", "acme.finance")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "redact.key"
    file.write_text("7" * 64 + "\n")
    file.chmod(0o600)
    return file


def test_names_are_hashed_or_left_out_before_they_are_written(
    serve: Callable[..., Server], untested: Path, key: Path
) -> None:
    """In records and counts, and nowhere in the store's files; a known name is found by its hash."""
    rules = "principal=hash, on_behalf_of=drop, resource_id=hash, globex/principal=drop"
    server = serve("--audit-redact", rules, "--audit-redact-key", str(key), policies=untested)
    with server.client() as client:
        told = client.tenant("acme", on_behalf_of="user:mallory").check("user:bob", *VIEW, resource_id="secret-flow")
        client.tenant("acme").check("user:carol", *VIEW)
        client.tenant("globex").check("user:zoe", "VIEW", "FLOW", "globex.sales")
    assert told.allowed
    assert 0 == server.terminate()
    with server.store() as store:
        records = store.decisions(newest_first=False)
    hashed = RedactionKey.read(key).hashed
    assert [hashed("user:bob"), hashed("user:carol"), ""] == [each.principal for each in records]
    assert (hashed("secret-flow"), "", "anonymous") == (
        records[0].resource_id, records[0].on_behalf_of, records[0].caller,
    )  # fmt: skip
    content = b"".join(file.read_bytes() for file in server.folder.glob("audit.db*"))
    assert [] == [name for name in ("user:bob", "user:zoe", "secret-flow", "mallory") if name.encode() in content]
    assert b"FLOW" in content

    printed = remit("audit", "hash", "user:carol", "--key", str(key))
    assert (0, f"{hashed('user:carol')}\n") == (printed.returncode, printed.stdout)
    listed = remit("audit", "list", "--principal", printed.stdout.strip(), "--json", "--audit", server.audit)
    assert 1 == len(json.loads(listed.stdout)["records"])
    shown = remit("audit", "show", told.decision_id, "--audit", server.audit)
    assert "its principal is redacted" in shown.stdout, shown.stderr
    replayed = remit("replay", "--policies", str(untested), "--audit", server.audit)
    assert "0 decisions decided again, 3 left out whose principal is redacted" in replayed.stderr


def test_shadow_decides_the_whole_question_and_reports_redacted_names(
    serve: Callable[..., Server], untested: Path, policies: Path, key: Path
) -> None:
    for tests in policies.glob("*/tests/*"):
        tests.unlink()
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text(bindings.read_text() + "p, user:bob, acme, **, FLOW, VIEW, deny\n")
    redacted = ("--audit-redact", "principal=hash", "--audit-redact-key", str(key))
    server = serve("--shadow", str(policies), "--shadow-share", "1", *redacted, policies=untested)
    with server.client() as client:
        until(lambda: client.ask(status.GetShadowRequest()).tree_revision, "the candidate has loaded")
        client.tenant("acme").check("user:bob", *VIEW)
        until(lambda: client.ask(status.GetShadowRequest()).differing, "the decision was put to it")
        (change,) = client.ask(status.GetShadowRequest()).changes
    assert RedactionKey.read(key).hashed("user:bob") == change.principal


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ("--audit-redact", "tenant=hash"),
            "`tenant` is required in every record; what may be redacted is `caller`",
        ),
        (("--audit-redact", "principal=hash"), "name the file with the key of the hashes, `audit_redact_key`"),
        (("--audit-redact", "principal=hash", "--audit-redact-key", "nowhere"), "key file `nowhere` cannot be read"),
        (("--audit-sample-allows", "0"), "setting `audit_sample_allows` is `0`"),
        (("--audit-retention", "soon"), "`soon` names no age"),
    ],
    ids=range(5),
)
def test_invalid_redaction_rule_refuses_the_start(
    tmp_path: Path, untested: Path, flags: tuple[str, ...], told: str
) -> None:
    named = ("--audit", f"sqlite:///{tmp_path / 'audit.db'}", "--policies", str(untested), "--listen", "127.0.0.1:0")
    refused = remit_process("serve", *named, "--metrics", "", "--revisions", str(tmp_path / "revisions"), *flags)
    assert (3, True) == (refused.returncode, told in refused.stderr), refused.stderr
    assert not (tmp_path / "audit.db").exists()
