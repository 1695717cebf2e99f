import re
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree as ET

from remit.policy.load import LoadedTenant

_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(tenants: Iterable[LoadedTenant]) -> bytes:
    """Writes the tests as JUnit XML: one suite per tenant, one test per case.

    A tenant that does not load is one test with an error.
    """
    suites = ET.Element("testsuites", name="remit test")
    for loaded in tenants:
        mistakes = loaded.mistakes
        failures = {each.case: each for each in reversed(loaded.failures)}
        suite = ET.SubElement(
            suites,
            "testsuite",
            name=loaded.tenant,
            tests=str(1 if mistakes else len(loaded.cases)),
            failures=str(len(failures)),
            errors="1" if mistakes else "0",
            skipped="0",
            time=f"{loaded.seconds:.3f}",
        )
        if mistakes:
            case = ET.SubElement(suite, "testcase", classname=loaded.tenant, name="loads")
            error = ET.SubElement(case, "error", message=_text(mistakes[0].message))
            error.text = _text("\n".join(map(str, mistakes)))
            continue
        for each in loaded.cases:
            place = {"classname": _text(each.file), "file": _text(each.file), "line": str(each.line)}
            case = ET.SubElement(suite, "testcase", place, name=_text(each.asked))
            failure = failures.get(each)
            if failure is not None:
                element = ET.SubElement(case, "failure", message=f"expected {failure.expected}, got {failure.actual}")
                element.text = _text(f"{each.place}\n{failure.text}")
    text: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return text


def _text(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
