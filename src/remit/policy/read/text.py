import re
from itertools import islice

from remit.policy.read.report import Diagnostics

# Control characters except LF and CR (a CR before LF is dropped first), bidi controls, line and paragraph separators, BOM.
_FORBIDDEN = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]",
)
_SHOWN = 20
_BOM = b"\xef\xbb\xbf"


def read_text(file: str, content: bytes, report: Diagnostics) -> str | None:
    """A policy file's bytes as text with LF line ends; None, with diagnostics, if the text is not clean."""
    if content.startswith(_BOM):
        report.add(file, 1, 1, "begins with a byte order mark: save as UTF-8 without BOM")
        return None
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line_start = before.rfind(b"\n") + 1
        column = len(before[line_start:].decode("utf-8", "replace")) + 1
        byte = content[error.start]
        report.add(file, before.count(b"\n") + 1, column, f"byte 0x{byte:02x} is not UTF-8")
        return None
    text = text.replace("\r\n", "\n")
    lone = text.find("\r")
    if lone >= 0:
        line_start = text.rfind("\n", 0, lone) + 1
        line = text.count("\n", 0, lone) + 1
        # Once: where each line ends so, to delete them would join the lines.
        report.add(file, line, lone - line_start + 1, "contains a CR without LF: save with LF line ends")
    for match in islice(_FORBIDDEN.finditer(text), _SHOWN):
        before_match = text[: match.start()]
        code = ord(match.group())
        what = "a tab: write blanks" if code == ord("\t") else f"the invisible character U+{code:04X}: delete it"
        line = before_match.count("\n") + 1
        report.add(file, line, match.start() - before_match.rfind("\n"), f"contains {what}")
    return None if lone >= 0 or _FORBIDDEN.search(text) else text
