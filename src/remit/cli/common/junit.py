"""Writes results as JUnit XML."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from xml.etree import ElementTree as ET

import typer

from remit.cli.common.help import OUTPUT
from remit.cli.common.output import Exit, fail

JunitOption = Annotated[
    Path | None,
    typer.Option("--junit", metavar="FILE", help="Write the results as JUnit XML too.", rich_help_panel=OUTPUT),
]
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class JUnitCase:
    group: str
    name: str
    file: str = ""
    line: int = 0
    problem: str = ""
    """`failure`, `error` or `skipped`; '' if the case passed."""
    message: str = ""
    text: str = ""
    """The problem at length. Of a case that passed: what it printed."""
    seconds: float | None = None


def junit_xml(name: str, suites: Iterable[tuple[str, Sequence[JUnitCase], float]]) -> bytes:
    """One `testsuite` for each name with its cases and seconds."""
    top = ET.Element("testsuites", name=name)
    for suite_name, cases, seconds in suites:
        problems = [case.problem for case in cases]
        suite = ET.SubElement(
            top,
            "testsuite",
            name=suite_name,
            tests=str(len(cases)),
            failures=str(problems.count("failure")),
            errors=str(problems.count("error")),
            skipped=str(problems.count("skipped")),
            time=f"{seconds:.3f}",
        )
        for case in cases:
            place = {"classname": _text(case.group)}
            if case.file:
                place |= {"file": _text(case.file), "line": str(case.line)}
            if case.seconds is not None:
                place["time"] = f"{case.seconds:.3f}"
            element = ET.SubElement(suite, "testcase", place, name=_text(case.name))
            if case.problem:
                ET.SubElement(element, case.problem, message=_text(case.message)).text = _text(case.text)
            elif case.text:
                ET.SubElement(element, "system-out").text = _text(case.text)
    text: bytes = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return text


def write_junit(file: Path, xml: bytes) -> None:
    """Ends the command if the file cannot be written."""
    try:
        file.write_bytes(xml)
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"`{file}` cannot be written: {error.strerror or error}")


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
