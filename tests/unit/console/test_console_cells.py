import csv
import io
import re

import pytest

from remit.console.cells import Cell, Table, code, csv_text, link_to, shown, tenant_link, time_text

HOSTILE = ["<script>alert(1)</script>", '"><svg onload=alert(1)>', "\u202eevil", "\u202e" * 512, "a\nb", "=1+1"]


@pytest.mark.parametrize("text", ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_spreadsheet_computes_nothing(text: str) -> None:
    written = csv_text(Table("t", "T", ("a",), [[Cell(text)]]))

    assert [*csv.reader(io.StringIO(written))][1] == [f"'{text}"]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_shown_has_no_hidden_characters(text: str) -> None:
    assert shown(text).isprintable()
    assert re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), shown(text)) == text


@pytest.mark.parametrize("text", [*HOSTILE, "a&b=c", "ä/../b", "user:a?b#c"])
def test_any_text_goes_through_a_link_and_back(text: str) -> None:
    from starlette.datastructures import QueryParams  # noqa: PLC0415

    path, _, query = tenant_link("acme", "who", p=text).partition("?")

    assert (path, QueryParams(query)["p"]) == ("t/acme/who", text)


def test_links_leave_out_what_is_empty() -> None:
    assert link_to("x", a="", b=0, from_=1) == "x?b=0&from=1"
    assert tenant_link("acme") == "t/acme"


@pytest.mark.parametrize(
    ("time_us", "text"), [(0, ""), (1_700_000_000_000_000, "2023-11-14 22:13:20Z"), (2**62, str(2**62))]
)
def test_times_are_in_utc_or_numbers(time_us: int, text: str) -> None:
    assert time_text(time_us) == text


def test_cells_of_code_keep_their_text() -> None:
    assert code("a").text == "a"
