"""Imports the files of `remit export`. The rows are in remit's format already and lack only the vocabulary."""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from random import Random
from typing import Final

from remit.core.decision import Decision
from remit.core.diagnostics import PolicyError
from remit.core.names import Tenant, quote
from remit.core.question import Question, ReachQuestion
from remit.core.rows import Effect
from remit.engine.differential.casbin_oracle import ACCESS_MODEL
from remit.engine.differential.compare import BY_ROWS
from remit.engine.differential.random_questions import random_questions, random_reach_questions
from remit.engine.snapshot import Snapshot
from remit.migrate.answer_check import report_differences
from remit.migrate.casbin.enforcer import CasbinRaisedError, Enforcer, LoadedRow, SourceRow
from remit.migrate.casbin.export import PRIORITY_MODEL
from remit.migrate.finding import FindingId, Findings
from remit.migrate.options import CasbinOptions, Imported
from remit.migrate.output_folder import loaded
from remit.migrate.render import (
    LINK_HEAD,
    REACH_HEAD,
    RULE_HEAD,
    AccessAnswer,
    ReachAnswer,
    cases_file,
    rows_file,
)

_SEED: Final = 0


def is_ours(enforcer: Enforcer) -> bool:
    """Whether a model is remit's own access.conf. Blanks and comments may differ."""
    return _definition(enforcer) == _definition(Enforcer(ACCESS_MODEL))


def import_export(
    enforcer: Enforcer,
    rows: Iterable[SourceRow],
    reach_rows: Iterable[SourceRow],
    vocabulary: bytes,
    options: CasbinOptions,
) -> Imported:
    """The files of every tenant that the rows name.

    Their tests hold Casbin's answers to random questions near the rows.
    """
    findings = Findings(options.accepted)
    read = enforcer.load(rows, findings)
    reach = Enforcer(PRIORITY_MODEL)
    read_reach = reach.load(reach_rows, findings)
    if findings.refused():
        return Imported({}, findings.found, len(read) + len(read_reach), 0)
    enforcer.register()
    reach.register()
    files = {"vocabulary.yaml": vocabulary, **_files(read, read_reach, options.tenant, findings)}
    count = 0
    if not findings.refused():
        tests = _tests(files, enforcer, reach, options.cases, findings)
        count = sum(content.count(b"\n  - ") for content in tests.values())
        files |= tests
    if not findings.refused():
        report_differences(files, findings)
        findings.add(FindingId.NOT_IN_CASBIN, "the policy", "access lists and dedicated resources are not in an export")
    return Imported({} if findings.refused() else files, findings.found, len(read) + len(read_reach), count)


def _definition(enforcer: Enforcer) -> tuple[object, ...]:
    matcher = "".join(enforcer.matcher.split())
    return enforcer.request, enforcer.columns, enforcer.effect, dict(enforcer.groups), matcher


def _files(
    read: Sequence[LoadedRow], reach: Sequence[LoadedRow], only: Tenant | None, findings: Findings
) -> dict[str, bytes]:
    lines: dict[str, list[str]] = {}
    tenants: set[str] = {only} if only else set()
    for row in read:
        tenant = row.fields[1] if row.ptype == "p" else row.fields[2].partition("/")[0]
        file = "roles.csv" if row.ptype == "p" else "bindings.csv"
        path = file if tenant == "*" else f"{tenant}/{file}"
        lines.setdefault(path, []).append(", ".join((row.ptype, *row.fields)))
        if tenant != "*":
            tenants.add(tenant)
            _refuse_other(tenant, only, row, findings)
    for row in sorted(reach, key=lambda each: int(each.fields[0]) if each.fields[0].isdigit() else 0):
        tenant = row.fields[1]
        if not row.fields[0].isdigit():
            findings.add(FindingId.ROW_UNREADABLE, row.place, f"priority `{quote(row.fields[0])}`: expected a number")
        tenants.add(tenant)
        _refuse_other(tenant, only, row, findings)
        lines.setdefault(f"{tenant}/reach.csv", []).append(", ".join(("p", *row.fields[1:])))
    if not tenants:
        findings.add(FindingId.POLICY_EMPTY, "the policy", "no row names a tenant")
    for tenant in tenants:
        lines.setdefault(f"{tenant}/roles.csv", [])
    heads = {"roles.csv": RULE_HEAD, "bindings.csv": LINK_HEAD, "reach.csv": REACH_HEAD}
    return {path: rows_file(heads[path.rpartition("/")[2]], rows) for path, rows in lines.items()}


def _refuse_other(tenant: str, only: Tenant | None, row: LoadedRow, findings: Findings) -> None:
    if only is not None and tenant != only:
        findings.add(FindingId.NAME_UNUSABLE, row.place, f"tenant `{quote(tenant)}` beside `--tenant {only}`")


def _tests(
    files: dict[str, bytes], enforcer: Enforcer, reach: Enforcer, most: int, findings: Findings
) -> dict[str, bytes]:
    try:
        tenants = loaded(files)
    except PolicyError:
        return {}
    found = {}
    for tenant, each in tenants.items():
        if each.snapshot is None:
            continue
        policy = each.snapshot.policy
        questions = _passing(each.snapshot, islice(random_questions(policy, Random(_SEED), most), most // 2))
        reaches = _passing(each.snapshot, islice(random_reach_questions(policy, Random(_SEED), most), most // 2))
        try:
            access = [
                AccessAnswer(
                    asked.principal,
                    asked.action,
                    asked.kind,
                    asked.namespace,
                    _effect(enforcer.allows(asked.principal, tenant, asked.namespace, asked.kind, asked.action)),
                )
                for asked in questions
                if isinstance(asked, Question)
            ]
            places = [
                ReachAnswer(*asked, _effect(reach.allows(tenant, *asked)))
                for asked in reaches
                if isinstance(asked, ReachQuestion)
            ]
        except CasbinRaisedError as error:
            findings.add(FindingId.CASBIN_RAISES, tenant, str(error))
            return {}
        found[f"{tenant}/tests/casbin.yaml"] = cases_file("what Casbin answered at the import", access, places)
    return found


def _passing(snapshot: Snapshot, questions: Iterable[Question | ReachQuestion]) -> list[Question | ReachQuestion]:
    """The questions that Casbin's rows decide, without duplicates."""
    answer: Callable[[Question | ReachQuestion], Decision] = snapshot.answer
    return [asked for asked in dict.fromkeys(questions) if answer(asked).reason in BY_ROWS]


def _effect(allowed: bool) -> Effect:
    return Effect.ALLOW if allowed else Effect.DENY
