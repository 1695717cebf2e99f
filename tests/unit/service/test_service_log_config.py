"""The log for people: what a terminal shows of a line."""

import json
import subprocess
import sys

import pytest

REFUSED = """
import structlog
from remit.service.log_config import configure_logs

configure_logs("info", FORM)
structlog.get_logger("remit").error(
    "tenant refused", tenant="acme", revision="0123456789abcdef" * 4, diagnostics=["a.csv:1:2: wrong", "b.csv:3: two\\nlines"]
)
"""


def logged(form: str) -> str:
    program = REFUSED.replace("FORM", repr(form))
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stderr


def test_console_shows_short_revisions_and_a_line_for_each_diagnostic() -> None:
    first, *diagnostics = logged("console").splitlines()

    assert "tenant refused" in first
    assert "revision=0123456789ab " in f"{first} "
    assert ["    a.csv:1:2: wrong", "    b.csv:3: two", "    lines"] == diagnostics


@pytest.mark.parametrize("key", ["revision", "diagnostics"])
def test_json_holds_whole_values(key: str) -> None:
    line = json.loads(logged("json"))

    assert {"revision": "0123456789abcdef" * 4, "diagnostics": ["a.csv:1:2: wrong", "b.csv:3: two\nlines"]}[
        key
    ] == line[key]
