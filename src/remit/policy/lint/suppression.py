"""Comments that suppress a rule for the row or entry below them: `# remit: ignore RULE: REASON`."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from remit.core.names import quote
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.read.report import did_you_mean

_DIRECTIVE = re.compile(r" *#+ *remit:(.*)").fullmatch
_IGNORE = re.compile(r" *ignore +([^ :]+) *(?:: *(.*))?").fullmatch
_SHAPE = "`# remit: ignore RULE: REASON`"
_UNSUPPRESSED = (RuleId.BAD_SUPPRESSION, RuleId.DOES_NOT_LOAD)


@dataclass(frozen=True, slots=True)
class Suppression:
    file: str
    line: int
    column: int
    rule: RuleId
    covers: int
    """The line that the comment covers: the first one after the comment and the comments that follow it."""


def suppressed(
    findings: Iterable[LintFinding], texts: Mapping[str, str], ran: Collection[RuleId]
) -> Iterator[LintFinding]:
    """The findings that no comment suppresses, and findings about the comments themselves. Does not report a comment as
    unused if its rule did not run."""
    asked: dict[tuple[str, int, RuleId], Suppression] = {}
    bad = []
    for file, text in texts.items():
        if "remit:" in text:
            for each in _read(file, text):
                if isinstance(each, LintFinding):
                    bad.append(each)
                elif asked.setdefault((each.file, each.covers, each.rule), each) is not each:
                    bad.append(_bad(each.file, each.line, each.column, f"`{each.rule}` is suppressed here twice"))
    used = set()
    for finding in findings:
        key = (finding.file, finding.line, finding.rule)
        if key in asked:
            used.add(key)
        else:
            yield finding
    yield from bad
    for key, each in asked.items():
        if key not in used and each.rule in ran:
            message = f"suppresses nothing: `{each.rule}` finds nothing in line {each.covers}; delete this comment"
            yield _bad(each.file, each.line, each.column, message)


def _read(file: str, text: str) -> Iterator[Suppression | LintFinding]:
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        directive = _DIRECTIVE(line) if "remit:" in line else None
        if directive is not None:
            column = len(line) - len(line.lstrip(" ")) + 1
            ignore = _IGNORE(directive[1].rstrip(" "))
            if ignore is None:
                yield _bad(file, number, column, f"`{quote(line.strip())}`: expected {_SHAPE}")
                continue
            name, reason = ignore[1], ignore[2]
            known = [rule for rule in RuleId if rule not in _UNSUPPRESSED]
            if name not in known:
                hint = did_you_mean(name, known)
                yield _bad(file, number, column, f"`{quote(name)}` is no rule that can be suppressed{hint}")
            elif not reason:
                yield _bad(file, number, column, f"suppresses `{name}` without a reason: expected {_SHAPE}")
            else:
                covers = number
                while covers < len(lines) and lines[covers].lstrip(" ").startswith("#"):
                    covers += 1
                yield Suppression(file, number, column, RuleId(name), covers + 1)


def _bad(file: str, line: int, column: int, message: str) -> LintFinding:
    return LintFinding(file, line, column, RuleId.BAD_SUPPRESSION, message)
