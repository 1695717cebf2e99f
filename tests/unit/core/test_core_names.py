import pytest

from remit.core.diagnostics import Diagnostic, PolicyError
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.core.names import (
    parse_namespace,
    parse_principal,
    parse_subject,
    parse_tenant,
    parse_word,
    quote,
)
from remit.core.patterns import EVERYWHERE, NamespacePattern
from remit.core.question import parse_question

LONG = "a" * 75 + "." + "b" * 74


@pytest.mark.parametrize("text", ["a", "0", "acme", "a-b_c", "a" * 63, "_instance"])
def test_tenants(text: str) -> None:
    assert text == parse_tenant(text)


@pytest.mark.parametrize(
    "text", ["", "A", "-a", "_a", "a.b", "a/b", "a" * 64, "a ", " a", "a\n", "é", "_instance2", "*", "__instance"]
)
def test_no_tenants(text: str) -> None:
    with pytest.raises(InvalidNameError, match="tenant"):
        parse_tenant(text)


@pytest.mark.parametrize("text", ["a", "prod2", "a-b_c", "a.b.c", "0.1", "system", "true", LONG])
def test_namespaces(text: str) -> None:
    assert text == parse_namespace(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "A",
        "a.B",
        "a b",
        "-a",
        "a.-b",
        "a._b",
        "a.*",
        "**",
        "a/b",
        "a\n",
        "a\x00",
        "\uff41",
        LONG + "b",
    ],
)
def test_no_namespaces(text: str) -> None:
    with pytest.raises(InvalidNameError, match="namespace"):
        parse_namespace(text)


@pytest.mark.parametrize(
    "text", ["user:a", "service:a:b/c@d..e", "user:role:admin", "user:" + "x" * 256, "user:!$%&'+-./;<=>?@^_`~"]
)
def test_principals(text: str) -> None:
    assert text == parse_principal(text)
    assert text == parse_subject(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "user",
        "user:",
        ":a",
        "User:a",
        "group:a",
        "role:a",
        "user:" + "x" * 257,
        "user:é",
        "user:a\n",
        "user:\x7f",
    ]
    + [f"user:a{char}b" for char in ' ,"#\\|*()[]{}\t'],
)
def test_no_principals(text: str) -> None:
    """What Casbin breaks on is in no ID; groups and roles ask no questions."""
    with pytest.raises(InvalidNameError, match="principal"):
        parse_principal(text)


@pytest.mark.parametrize("text", ["user:a", "service:a", "group:a", "role:a"])
def test_subjects(text: str) -> None:
    assert text == parse_subject(text)


@pytest.mark.parametrize("text", ["A", "a", "VIEW_2", "x" * 64])
def test_words(text: str) -> None:
    assert text == parse_word("kind", text)


@pytest.mark.parametrize("text", ["", "2A", "_A", "A-B", "A B", "A|B", "*", "É", "A\n", "x" * 65])
def test_no_words(text: str) -> None:
    with pytest.raises(InvalidNameError, match="kind"):
        parse_word("kind", text)


@pytest.mark.parametrize("text", ["a", "*", "a.*", "*.a.**", "**", "a.**", "*.**", LONG, ".".join("*" * 75)])
def test_patterns(text: str) -> None:
    assert text == NamespacePattern.parse(text).text


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.",
        ".**",
        "**.a",
        "a.**.b",
        "a.**.**",
        "a*",
        "*a",
        "a.*b",
        "***",
        "a**",
        "A",
        "a b",
        "a\n",
        "a/b",
        LONG + "b",
    ],
)
def test_no_patterns(text: str) -> None:
    with pytest.raises(InvalidNameError, match="pattern"):
        NamespacePattern.parse(text)


def test_only_star_star_covers_the_tenant_itself() -> None:
    empty = parse_question("user:a", "VIEW", "USER", "").namespace
    covering = [text for text in ("**", "*", "*.**", "a.**", "*.*") if NamespacePattern.parse(text).contains(empty)]
    expected = ["**"]
    assert expected == covering
    assert EVERYWHERE.text == "**"


def test_all_wrong_fields_of_a_question_are_named_at_once() -> None:
    with pytest.raises(MalformedQuestionError) as caught:
        parse_question("alice", "VIEW IT", "", "A..b")
    expected = ["principal", "action", "kind", "namespace"]
    assert expected == [violation.field for violation in caught.value.violations]
    assert "`A..b` is not a namespace" in str(caught.value)
    assert "; kind: is missing: expected a letter" in str(caught.value)


def test_offending_text_is_quoted_printable_and_short() -> None:
    """No line break, escape sequence or bidi control of an input gets into a message, nor all of a long one."""
    expected = r"a\u000a\u001b\u202eb"
    assert expected == quote("a\n\x1b\u202eb")
    assert len(quote("x" * 10_000)) == 81


def test_diagnostic_names_its_place() -> None:
    places = [str(Diagnostic("acme/roles.csv", line, column, "is off")) for line, column in ((3, 7), (3, 0), (0, 0))]
    expected = ["acme/roles.csv:3:7: is off", "acme/roles.csv:3: is off", "acme/roles.csv: is off"]
    assert expected == places
    assert "\n".join(expected[:2]) == str(
        PolicyError((Diagnostic("acme/roles.csv", 3, 7, "is off"), Diagnostic("acme/roles.csv", 3, 0, "is off")))
    )
