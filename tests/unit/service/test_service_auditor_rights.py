"""Who may read whose audit."""

from pathlib import Path

import pytest

from remit.core.errors import MalformedQuestionError
from remit.service.auditor_rights import NotAnAuditorError, parse_auditors
from remit.service.caller_rights import CallerRights
from remit.service.errors import StartupError
from remit.service.settings_reader import read_settings

SPIFFE = "spiffe://example.org/auditor"
TEXT = f"{SPIFFE}, audit.example.org=acme ,audit.example.org=globex, one.example.org=acme,both=acme,both"


def test_auditor_name_reads_all_tenants_or_only_its_named_tenant() -> None:
    rights = parse_auditors(TEXT)
    assert {SPIFFE, "audit.example.org", "one.example.org", "both"} == {*rights}
    for name in (SPIFFE, "both"):
        assert ["", "acme", "hooli"] == [rights[name].tenant(asked) for asked in ("", "acme", "hooli")]
    assert ["acme", "acme"] == [rights["one.example.org"].tenant(asked) for asked in ("", "acme")]
    assert [True, False] == [rights["one.example.org"].may_read(tenant) for tenant in ("acme", "globex")]
    assert "globex" == rights["audit.example.org"].tenant("globex")


def test_other_tenant_is_refused_whether_it_exists_or_not() -> None:
    rights = parse_auditors(TEXT)["one.example.org"]
    for tenant in ("globex", "hooli"):
        with pytest.raises(NotAnAuditorError, match=f"`one.example.org` is no auditor of tenant `{tenant}`"):
            rights.tenant(tenant)


def test_one_of_several_tenants_must_be_named() -> None:
    with pytest.raises(MalformedQuestionError, match="expected one of acme, globex"):
        parse_auditors(TEXT)["audit.example.org"].tenant("")


def test_empty_setting_names_no_auditor() -> None:
    assert {} == parse_auditors("")
    assert {} == parse_auditors(" , ")


@pytest.mark.parametrize(
    ("text", "told"), [("a=Acme", "`a=Acme`"), ("=acme", "names no caller"), ("ok,a=", "tenant is missing")]
)
def test_setting_with_an_empty_name_or_tenant_refuses_the_start(text: str, told: str) -> None:
    with pytest.raises(StartupError, match="`auditors` holds") as refused:
        read_settings({"auditors": text})
    assert told in str(refused.value)


@pytest.mark.parametrize("setting", ["operators", "auditors"])
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("anonymous", "reserved"),
        ("Anonymous", "reserved"),
        ("spiffe://a/x\0.evil", "not printable"),
        ("a\u202eb", "not printable"),
        ("x" * 513, "at most 512"),
    ],
)
def test_setting_with_a_name_that_no_certificate_can_have_is_refused(setting: str, name: str, told: str) -> None:
    with pytest.raises(StartupError, match=f"`{setting}` holds .*{told}"):
        read_settings({setting: f"{SPIFFE},{name}"})


@pytest.mark.parametrize("operators", ["", ",", " , ", f"{SPIFFE},"])
def test_caller_without_a_name_is_never_an_operator(tmp_path: Path, operators: str) -> None:
    tls = {name: tmp_path / name for name in ("tls_cert", "tls_key", "tls_client_ca")}
    rights = CallerRights(read_settings({"operators": operators, "auditors": operators, **tls}))
    assert operators.startswith(SPIFFE) == rights.may_operate(SPIFFE)
    for name in ("", " ", ","):
        assert not rights.may_operate(name)
        with pytest.raises(NotAnAuditorError):
            rights.audit_rights(name)


def test_every_caller_on_loopback_reads_all() -> None:
    rights = CallerRights(read_settings({}))
    assert "globex" == rights.audit_rights("anonymous").tenant("globex")
