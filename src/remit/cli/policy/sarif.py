from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import quote

from remit.policy.lint.finding import RULES, LintFinding, RuleId
from remit.service.version import VERSION

_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"
PAGE: Final = "urn:remit:docs:lint.md"
"""The default address of docs/reference/lint.md, which describes the rules."""


def sarif(findings: Iterable[LintFinding], directory: Path, page: str) -> dict[str, Any]:
    """A SARIF log of one run. Paths are relative to the working directory.

    For a policy directory outside of it, paths are relative to the policy directory.
    """
    ids = list(RuleId)
    inside = directory.resolve().is_relative_to(Path.cwd())
    base = PurePosixPath(directory.resolve().relative_to(Path.cwd()).as_posix()) if inside else PurePosixPath()
    run: dict[str, Any] = {
        "tool": {
            "driver": {
                "name": "remit",
                "semanticVersion": VERSION,
                "rules": [
                    {
                        "id": each.value,
                        "shortDescription": {"text": RULES[each].summary},
                        "helpUri": f"{page}#{each.value}",
                        "help": {"text": f"{RULES[each].summary} See `{each.value}` in docs/reference/lint.md."},
                        "defaultConfiguration": {"level": RULES[each].severity.value},
                    }
                    for each in ids
                ],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": each.rule.value,
                "ruleIndex": ids.index(each.rule),
                "level": each.severity.value,
                "message": {"text": each.message},
                "locations": [{"physicalLocation": _location(each, base, inside=inside)}],
            }
            for each in findings
        ],
    }
    if not inside:
        run["originalUriBaseIds"] = {"POLICIES": {"uri": f"{directory.resolve().as_uri()}/"}}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _location(finding: LintFinding, base: PurePosixPath, *, inside: bool) -> dict[str, Any]:
    artifact = {"uri": quote(str(base / finding.file))}
    if not inside:
        artifact["uriBaseId"] = "POLICIES"
    location: dict[str, Any] = {"artifactLocation": artifact}
    if finding.line:
        location["region"] = {"startLine": finding.line}
        if finding.column:
            location["region"]["startColumn"] = finding.column
    return location
