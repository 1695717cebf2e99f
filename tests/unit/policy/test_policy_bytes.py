"""Which bytes a policy file may hold: UTF-8 without BOM, LF or CRLF, nothing that an editor does not show."""

import pytest
from support.trees import load, snapshot_of

from remit.core.names import Namespace, Principal, Word
from remit.core.question import Question

VOCABULARY = b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\n"
ROW = b"p, user:a, acme, **, FLOW, VIEW, allow\n"
QUESTION = Question(Principal("user:a"), Word("VIEW"), Word("FLOW"), Namespace("a"))

REFUSED = {
    "byte order mark": (b"\xef\xbb\xbf" + ROW, "1:1: begins with a byte order mark"),
    "tab": (ROW.replace(b", ", b",\t", 1), "1:3: contains a tab: write blanks"),
    "tab in a comment": (b"# a\tb\n" + ROW, "1:4: contains a tab"),
    "NUL": (ROW + b"# \x00\n", "2:3: contains the invisible character U+0000"),
    "NUL at the end": (ROW + b"\x00", "2:1: contains the invisible character U+0000"),
    "escape": (b"# \x1b[2K\n" + ROW, "1:3: contains the invisible character U+001B"),
    "delete": (b"# \x7f\n", "1:3: contains the invisible character U+007F"),
    "CR alone": (b"# hidden\r" + ROW, "1:9: contains a CR without LF: save with LF line ends"),
    "CR CR LF": (b"# a\r\r\n" + ROW, "1:4: contains a CR without LF: save with LF line ends"),
    "form feed": (b"\x0c" + ROW, "1:1: contains the invisible character U+000C"),
    "vertical tab": (b"# a\x0b" + ROW, "1:4: contains the invisible character U+000B"),
    "next line": ("# a\u0085p, x\n".encode(), "1:4: contains the invisible character U+0085"),
    "line separator": ("# a\u2028p, x\n".encode(), "1:4: contains the invisible character U+2028"),
    "paragraph separator": ("# a\u2029p, x\n".encode(), "1:4: contains the invisible character U+2029"),
    "right to left override": ("# \u202ewolla\n".encode(), "1:3: contains the invisible character U+202E"),
    "bidi isolate": ("# \u2066x\u2069\n".encode(), "1:3: contains the invisible character U+2066"),
    "left to right mark": ("# \u200e\n".encode(), "1:3: contains the invisible character U+200E"),
    "Arabic letter mark": ("# \u061c\n".encode(), "1:3: contains the invisible character U+061C"),
    "byte order mark inside": ("# a\n# \ufeff\n".encode(), "2:3: contains the invisible character U+FEFF"),
    "Latin-1": (ROW + b"# caf\xe9\n", "2:6: byte 0xe9 is not UTF-8"),
    "overlong": (b"# \xc0\xaf\n", "1:3: byte 0xc0 is not UTF-8"),
    "surrogate": (b"# \xed\xa0\x80\n", "1:3: byte 0xed is not UTF-8"),
    "UTF-16": (ROW.decode().encode("utf-16-le"), "1:2: contains the invisible character U+0000"),
}


@pytest.mark.parametrize("file", ["bindings.csv", "reach.csv", "tenant.yaml", "tests/x.yaml"])
@pytest.mark.parametrize(("content", "expected"), [pytest.param(*row, id=name) for name, row in REFUSED.items()])
def test_bytes_are_refused(file: str, content: bytes, expected: str) -> None:
    """In every file, also in comments; reported by line, column and code point."""
    loaded = load({"vocabulary.yaml": VOCABULARY, f"acme/{file}": content}, "acme")
    assert loaded.snapshot is None
    assert f"acme/{file}:{expected}" in "\n".join(map(str, loaded.diagnostics))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(ROW, id="LF"),
        pytest.param(ROW.replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(ROW[:-1], id="no line end"),
        pytest.param(b"\n  \n" + ROW + b"\r\n", id="both, and blank lines"),
        pytest.param("# café, \U0001f600, 漢\n".encode() + ROW, id="a comment in other letters"),
        pytest.param(b"   # indented\n" + ROW.replace(b", ", b"  ,   "), id="blanks around fields"),
        pytest.param(ROW.replace(b", ", b","), id="no blanks"),
    ],
)
def test_bytes_are_read(content: bytes) -> None:
    snapshot = snapshot_of({"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": content}, "acme")
    assert snapshot.decide(QUESTION).allowed


def test_file_with_cr_line_ends_is_one_error() -> None:
    content = b"# a comment\n\np, user:a, acme, **, FLOW, VIEW, allow\n".replace(b"\n", b"\r")
    (diagnostic,) = load({"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": content}, "acme").diagnostics
    assert "acme/bindings.csv:1:12: contains a CR without LF: save with LF line ends" == str(diagnostic)


def test_lines_are_counted_equally_with_lf_and_crlf() -> None:
    """CRLF moves no diagnostic."""
    broken = b"# a comment\n\np, user:a, acme, **, FLOW, VIEW, maybe\n"
    places = []
    for content in (broken, broken.replace(b"\n", b"\r\n")):
        (diagnostic,) = load({"vocabulary.yaml": VOCABULARY, "acme/bindings.csv": content}, "acme").diagnostics
        places.append((diagnostic.line, diagnostic.column))
    expected = [(3, 34), (3, 34)]
    assert expected == places
