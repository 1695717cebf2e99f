from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from remit.cli.common.as_json import JsonOption, form_of, print_json
from remit.cli.common.help import OUTPUT
from remit.cli.common.output import Exit, err, fail, out
from remit.cli.common.pages import LINT_RULES, pages, section
from remit.cli.common.policies_option import with_policies
from remit.cli.common.policy_files import not_a_tenants
from remit.cli.docs import print_markdown
from remit.cli.policy.sarif import PAGE, sarif
from remit.policy.lint.finding import LintFinding, LintSeverity, RuleId
from remit.policy.lint.linter import EVERY_RULE, lint_directory
from remit.policy.read.report import did_you_mean

_STYLES = {LintSeverity.ERROR: "red", LintSeverity.WARNING: "yellow", LintSeverity.NOTE: "cyan"}


class LintFormat(StrEnum):
    HUMAN = "human"
    JSON = "json"
    SARIF = "sarif"


@with_policies
def lint(
    directory: Path,
    form: Annotated[
        LintFormat, typer.Option("--format", help="How to print the findings.", rich_help_panel=OUTPUT)
    ] = LintFormat.HUMAN,
    as_json: JsonOption = False,
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="RULES", help="Only these rules: ids, separated by commas.", show_default=False),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="RULES", help="All but these rules.", show_default=False)
    ] = None,
    fail_on: Annotated[
        LintSeverity, typer.Option("--fail-on", help="Exit 1 for findings of at least this severity.")
    ] = LintSeverity.WARNING,
    explain: Annotated[
        RuleId | None,
        typer.Option("--explain", metavar="RULE", help="Print what a rule finds and what to do, and lint nothing."),
    ] = None,
    page: Annotated[
        str, typer.Option("--page", metavar="URL", help="Where docs/reference/lint.md is published, for SARIF's links.")
    ] = PAGE,
) -> None:
    """Find rows, roles, groups and resources that do not do what they seem to do, or give more than they seem to give.

    Prints file:line:column, severity, the rule's id and the finding. --explain RULE says what to do about it.
    Exits 1 if there is a finding of the severity of --fail-on, or if files do not load.

    Example: `remit lint policies --fail-on error`
    """
    form = form_of(form, as_json, text=LintFormat.HUMAN, json_=LintFormat.JSON)
    if explain is not None:
        text = section(pages()[LINT_RULES].read_text(encoding="utf-8"), explain) or ""
        if form is LintFormat.JSON:
            print_json({"rule": explain, "markdown": text})
        else:
            print_markdown(text)
        return
    rules = (_rules(select) if select else EVERY_RULE) - _rules(ignore or [])
    if not rules:
        fail(Exit.USAGE, "--select and --ignore leave no rule")
    not_a_tenants(directory)
    try:
        result = lint_directory(directory, rules)
    except OSError as error:
        fail(Exit.UNAVAILABLE, f"policy directory `{directory}` cannot be read: {error.strerror or error}")
    if form is LintFormat.JSON:
        print_json({"loads": result.loads, "findings": [_plain(each) for each in result.findings]})
    elif form is LintFormat.SARIF:
        print_json(sarif(result.findings, directory, page))
    else:
        for each in result.findings:
            out.print(each.place, end=": ")
            out.print(each.severity.value, end="", style=_STYLES[each.severity])
            out.print(f" {each.rule}: {each.message}")
        counts = {severity: sum(each.severity is severity for each in result.findings) for severity in LintSeverity}
        summary = ", ".join(
            f"{count} {severity}{'s' if count > 1 else ''}" for severity, count in counts.items() if count
        )
        err.print(summary or "nothing found")
    failed = not result.loads or any(each.severity.reaches(fail_on) for each in result.findings)
    raise typer.Exit(Exit.NO if failed else Exit.OK)


def _plain(finding: LintFinding) -> dict[str, str | int]:
    return {
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "severity": finding.severity.value,
        "rule": finding.rule.value,
        "message": finding.message,
    }


def _rules(options: list[str]) -> frozenset[RuleId]:
    names = {name.strip() for option in options for name in option.split(",") if name.strip()}
    for name in sorted(names):
        if name not in set(RuleId):
            fail(Exit.USAGE, f"`{name}` is no rule of `remit lint`{did_you_mean(name, RuleId)}")
    return frozenset(map(RuleId, names))
