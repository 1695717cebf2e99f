"""The canonical form of policy files."""

import pytest

from remit.policy.format import WIDEST, format_file
from remit.policy.read.report import Diagnostics


def formatted(file: str, text: str) -> str:
    content = format_file(file, text.encode(), Diagnostics())
    assert content is not None
    return content.decode()


def test_columns_are_aligned_in_blocks_and_comments_stay() -> None:
    before = (
        "\n\n  # p, subject, tenant, namespaces, kind, actions, effect\n"
        "p, role:developer,acme,**,FLOW,VIEW|LIST|UPDATE,allow  \n"
        "# a managed role, in the root roles.csv\n"
        "p,role:viewer , * , ** ,EXECUTION,VIEW|LIST,   allow\n"
        "\n   \n\ng,user:bob,group:g,acme\n# g, member, holds, scope\n#note, with, commas, here\n\n"
    )
    after = (
        "# p, subject,        tenant, namespaces, kind,      actions,          effect\n"
        "p,   role:developer, acme,   **,         FLOW,      VIEW|LIST|UPDATE, allow\n"
        "# a managed role, in the root roles.csv\n"
        "p,   role:viewer,    *,      **,         EXECUTION, VIEW|LIST,        allow\n"
        "\n"
        "g,   user:bob, group:g, acme\n"
        "# g, member,   holds,   scope\n"
        "#note, with, commas, here\n"
    )

    assert after == formatted("acme/roles.csv", before)
    assert after == formatted("acme/roles.csv", after)


def test_p_rows_and_g_rows_of_one_block_have_separate_columns() -> None:
    before = "p, user:x, acme, **, *, *, deny\ng, user:somebody, role:r, acme\ng, user:x, role:rr, acme\n"
    after = "p, user:x, acme, **, *, *, deny\ng, user:somebody, role:r,  acme\ng, user:x,        role:rr, acme\n"

    assert after == formatted("b.csv", before)


def test_a_very_long_field_does_not_widen_its_column() -> None:
    long = "user:" + "x" * WIDEST
    before = f"g, {long}, role:r, acme\ng, user:bob, role:reader, acme\ng, user:e, role:r, acme\n"

    assert f"g, {long}, role:r, acme\ng, user:bob, role:reader, acme\ng, user:e,   role:r,      acme\n" == formatted(
        "b.csv", before
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("\n \n", ""),
        ("# only a comment", "# only a comment\n"),
        ("p,a\r\np,b\r\n", "p, a\np, b\n"),
        # Rows that the loader refuses are shown as they are, and never mended.
        ("p,,\n", "p, ,\n"),
        ("p2, role:x # why", "p2, role:x # why\n"),
    ],
)
def test_odd_csv(before: str, after: str) -> None:
    assert after == formatted("b.csv", before)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ("a: b  \r\n\r\n\r\n\r\n# c \r\nd: [e,f]", "a: b\n\n# c\nd: [e,f]\n"),
        ("\n\na: b\n\n\n", "a: b\n"),
        # Blanks and blank lines inside of a text belong to it.
        ("a: |+\n  x  \n\n\nb: c  \n", "a: |+\n  x  \n\n\nb: c  \n"),
        ('a: "x  \n\n\n  y"\nb: c\n', 'a: "x  \n\n\n  y"\nb: c\n'),
        ("a: |\n  x", "a: |\n  x"),
    ],
)
def test_fmt_changes_only_whitespace_in_yaml(before: str, after: str) -> None:
    assert after == formatted("t.yaml", before)
    assert after == formatted("t.yaml", after)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("b.csv", b"p,\ta\n", "b.csv:1:3: contains a tab: write blanks"),
        ("b.csv", b"\xff\n", "b.csv:1:1: byte 0xff is not UTF-8"),
        ("t.yaml", b"a: [\n", "t.yaml:2:1: is not YAML: "),
        ("t.yaml", b"a: &x b\n", "t.yaml:1:4: anchor `&x`"),
    ],
)
def test_fmt_leaves_unreadable_files_unchanged(file: str, content: bytes, told: str) -> None:
    report = Diagnostics()

    assert format_file(file, content, report) is None
    assert str(report.diagnostics[0]).startswith(told)
