import pytest

from remit.core.errors import MalformedQuestionError
from remit.core.names import Subject, Tenant
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.runtime import Runtime, RuntimeRow, parse_runtime_row


def test_row_is_parsed() -> None:
    row = parse_runtime_row("user:bob", "group:devs", "acme.*", 7)

    assert RuntimeRow(Subject("user:bob"), Subject("group:devs"), NamespacePattern.parse("acme.*"), 7) == row
    assert RuntimeRow(Subject("group:devs"), Subject("role:dev")) == parse_runtime_row("group:devs", "role:dev")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            ("bob", "role:x", ""),
            {"member": "`bob` is not a subject", "…": "did you mean `user:bob` or `role:bob`?"},
        ),
        (("role:x", "role:y", ""), {"member": "`role:x`: expected `user:`, `service:` or `group:` with an ID"}),
        (("user:bob", "user:eve", ""), {"holds": "`user:eve`: expected `group:` or `role:` with an ID"}),
        (("user:bob", "role:x", "a..b"), {"scope": "`a..b` is not a namespace pattern: expected segments"}),
        (("user:bob", "role:x", "**"), {"scope": "`**`: leave it empty for the whole tenant"}),
        (("", "", "A"), {"member": "subject is missing", "holds": "subject is missing", "scope": "`A` is not a"}),
    ],
)
def test_each_malformed_field_is_named(fields: tuple[str, str, str], expected: dict[str, str]) -> None:
    with pytest.raises(MalformedQuestionError) as raised:
        parse_runtime_row(*fields)

    assert [each.field for each in raised.value.violations] == [field for field in expected if field != "…"]
    assert [part for part in expected.values() if part not in str(raised.value)] == []


def test_row_counts_until_it_expires() -> None:
    row = parse_runtime_row("user:bob", "role:x", expires_us=1_000)

    assert [True, False, False] == [row.counts(each) for each in (999, 1_000, 1_001)]
    assert parse_runtime_row("user:bob", "role:x").counts(10**18)


def test_place_of_a_link_is_the_change_that_granted_it() -> None:
    link = parse_runtime_row("user:bob", "role:x", "a.**").link(Tenant("acme"), 12)

    assert ("runtime:change 12", "g, user:bob, role:x, acme/a.**") == (link.place, link.text)
    assert EVERYWHERE == parse_runtime_row("user:bob", "role:x").link(Tenant("acme"), 1).scope


@pytest.mark.parametrize(
    ("holds", "opened"),
    [
        ("role:viewer", True),
        ("role:viewers", False),
        ("role:deploy-eu", True),
        ("role:deploy-", True),
        ("role:deploy", False),
        ("group:devs", True),
        ("group:viewer", False),
        ("group:deploy-eu", False),
        # It is opened by itself, to everybody.
        ("group:suspended", False),
    ],
)
def test_runtime_opens_what_a_name_stands_for(holds: str, opened: bool) -> None:
    runtime = Runtime(("role:viewer", "role:deploy-*"), ("group:devs",), suspend=Subject("group:suspended"))

    assert opened == runtime.opens(holds)
