import hashlib
import hmac
import pickle
import re
from pathlib import Path

import pytest
from support.audit_records import decision

from remit.audit.redaction import (
    REDACTABLE,
    Redaction,
    RedactionKey,
    RedactionKeyError,
    RedactionMethod,
    hashes,
    parse_redaction,
)

KEY = RedactionKey(b"0123456789abcdef0123456789abcdef")


def test_fields_are_hashed_or_left_out_and_nothing_else_changes() -> None:
    record = decision(on_behalf_of="user:eve", trace_id="t-1")
    redact = Redaction(parse_redaction("principal=hash, on_behalf_of = drop,caller=hash"), KEY)
    expected = record._replace(principal=KEY.hashed("user:ada"), on_behalf_of="", caller=KEY.hashed("anonymous"))
    assert expected == redact(record)


def test_redacted_caller_takes_its_credentials_name_along() -> None:
    record = decision(detail='{"operation":"close","via":"spiffe://acme.example/web"}')
    (hashed, dropped, other) = (
        Redaction(parse_redaction(rule), KEY) for rule in ("caller=hash", "caller=drop", "principal=drop")
    )
    assert '{"operation":"close"}' == hashed(record).detail == dropped(record).detail
    assert record.detail == other(record).detail
    assert "" == dropped(record._replace(detail='{"via":"cn"}')).detail


def test_a_hash_is_hmac_sha_256_and_equal_values_stay_equal() -> None:
    digest = hmac.new(KEY.secret, b"user:ada", hashlib.sha256).hexdigest()
    assert f"hmac:{digest[:32]}" == KEY.hashed("user:ada") == KEY.hashed("user:ada")
    assert KEY.hashed("user:ada") != RedactionKey(KEY.secret + b"!").hashed("user:ada")
    assert "" == KEY.hashed("")


def test_tenant_rule_overrides_the_rule_for_all_tenants() -> None:
    redact = Redaction(
        parse_redaction("principal=hash, resource_id=drop, acme/principal=keep, globex/caller=drop"), KEY
    )
    of_acme, of_globex, of_initech = (decision(tenant=name) for name in ("acme", "globex", "initech"))
    assert of_acme._replace(resource_id="") == redact(of_acme)
    hashed = KEY.hashed("user:ada")
    assert of_globex._replace(resource_id="", principal=hashed, caller="") == redact(of_globex)
    assert of_initech._replace(resource_id="", principal=hashed) == redact(of_initech)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("node=hash", "`node=hash`: `node` is required in every record; what may be redacted is `caller`,"),
        ("seq=drop", "`seq` is required in every record"),
        ("namespace=drop", "`namespace` is required in every record"),
        ("user=drop", "`user` is not a field of a record; what may be redacted is"),
        ("principal", "`` says nothing: expected `principal=hash`, `principal=drop`, or `TENANT/principal=keep`"),
        ("principal=md5", "`md5` says nothing: expected `principal=hash`"),
        ("principal=keep", "`keep` says nothing"),
        ("principal=hash, principal=drop", "`principal=drop` is a second rule for `principal`"),
        ("acme/principal=hash,acme/principal=hash", "is a second rule for `acme/principal`"),
        ("Acme/principal=hash", "`Acme` is not a tenant"),
        ("principal=hash,", "`` is not a field of a record"),
    ],
)
def test_malformed_redaction_is_reported(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        parse_redaction(text)


def test_every_field_that_may_be_redacted_can_be() -> None:
    rules = parse_redaction(",".join(f"{name}=drop" for name in REDACTABLE))
    assert {"": dict.fromkeys(REDACTABLE, RedactionMethod.DROP)} == rules
    assert not hashes(rules)
    assert hashes(parse_redaction("acme/caller=hash"))
    redacted = Redaction(rules)(decision(on_behalf_of="user:eve", trace_id="t"))
    assert {""} == {getattr(redacted, name) for name in REDACTABLE}


def test_a_key_is_the_files_content_without_blanks_around_it(tmp_path: Path) -> None:
    file = tmp_path / "redact.key"
    file.write_bytes(KEY.secret + b"\n")
    file.chmod(0o600)
    assert KEY == RedactionKey.read(file)
    assert "0123" not in repr(KEY)
    assert KEY == pickle.loads(pickle.dumps(KEY))


@pytest.mark.parametrize(
    ("content", "told"), [(b"short\n", "has 5 bytes: expected 32 or more"), (None, "cannot be read")]
)
def test_unusable_key_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    file = tmp_path / "redact.key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(RedactionKeyError, match=told):
        RedactionKey.read(file)


def test_question_about_a_redacted_principal_cannot_be_replayed() -> None:
    for rules in ("principal=hash", "principal=drop"):
        redacted = Redaction(parse_redaction(rules), KEY)(decision())
        assert (True, None) == (redacted.nameless, redacted.asked)
        reach = decision(question="REACH", principal="namespace:acme.data", action="SUBFLOW", kind="")
        assert not reach.nameless
        assert Redaction(parse_redaction(rules), KEY)(reach).nameless
    plain = Redaction(parse_redaction("resource_id=hash, caller=drop"), KEY)(decision())
    assert decision().asked is not None
    assert decision().asked == plain.asked
    assert not decision(question="PRINCIPALS", principal="").nameless
