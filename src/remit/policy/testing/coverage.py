"""Coverage: which rows the tests of a tenant exercise."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from remit.core.policy import Policy
from remit.core.rows import Link, ReachRule, Rule
from remit.engine.explain.access import chains
from remit.engine.snapshot import Snapshot
from remit.policy.testing.cases import AccessCase, Case, decisions_of

Row = Rule | Link | ReachRule


@dataclass(frozen=True, slots=True)
class FileCoverage:
    file: str
    rows: int
    missed: tuple[Row, ...]
    """Rows that no case exercises, in file order."""


def rows_of(policy: Policy) -> Iterator[Row]:
    """Every row of the tenant's own folder, without managed roles."""
    yield from (rule for rule in policy.rules if rule.tenant == policy.tenant)
    yield from policy.links
    yield from policy.reach


def exercised(snapshot: Snapshot, cases: Iterable[Case]) -> Iterator[Row]:
    """The rows that decide a case, and the g rows on the chain to them. A row may appear many times."""
    for case in decisions_of(cases):
        rule = snapshot.answer(case.question).rule
        if rule is None:
            continue
        yield rule
        if isinstance(case, AccessCase) and isinstance(rule, Rule):
            yield from chains(snapshot, case.question)[rule.subject]


def coverage(rows: Iterable[Row], exercised: Collection[Row]) -> list[FileCoverage]:
    """Coverage by file, in the order in which the rows name the files."""
    files: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        files[row.file].append(row)
    return [
        FileCoverage(file, len(held), tuple(sorted((row for row in held if row not in exercised), key=_line)))
        for file, held in files.items()
    ]


def _line(row: Row) -> int:
    return row.line
