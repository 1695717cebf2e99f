from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from remit.audit.filter import DecisionFilter
from remit.audit.ids import format_id
from remit.core.decision import Reason
from remit.core.question import QuestionType
from remit.core.rows import Effect
from remit.faces.cli.audit.options import moment, revision_from
from remit.faces.cli.given import given, option
from remit.faces.cli.values import namespace_from, tenant_from
from remit.v1.audit_service_pb2 import RecordFilter


def filter_to(where: DecisionFilter) -> RecordFilter:
    ids = map(format_id, where.ids)
    return RecordFilter(
        ids=ids,
        **where.equal,
        namespace=where.namespace or "",
        since_us=where.since_us or 0,
        until_us=where.until_us or 0,
    )


def _made(*, since: int | None, until: int | None, **words: Any) -> DecisionFilter:
    told: dict[str, Any] = {name: word.value if isinstance(word, StrEnum) else word for name, word in words.items()}
    return DecisionFilter(**told, since_us=since, until_us=until)


def _only(what: str, metavar: str | None = None, parser: Callable[[str], str] | None = None) -> Any:
    return typer.Option(help=f"Only {what}.", metavar=metavar, parser=parser, show_default=False)


def _time(told: str) -> Any:
    return typer.Option(parser=moment, metavar="TIME", help=told, show_default=False)


selects: Final = given(
    "where",
    _made,
    (
        option("tenant", Annotated[str | None, _only("this tenant", "TENANT", tenant_from)]),
        option(
            "namespace", Annotated[str | None, _only("this namespace and all below it", "NAMESPACE", namespace_from)]
        ),
        option("principal", Annotated[str | None, _only("this principal")]),
        option("effect", Annotated[Effect | None, _only("allows or only denies")]),
        option("reason", Annotated[Reason | None, _only("this reason, for example NO_BINDING", "REASON")]),
        option("question", Annotated[QuestionType | None, _only("this type of question, for example REACH", "TYPE")]),
        option("caller", Annotated[str | None, _only("what this service asked")]),
        option("node", Annotated[str | None, _only("what this server answered")]),
        option(
            "revision",
            Annotated[
                str | None,
                _only("what this revision of the policy decided: 64 digits", "REVISION", revision_from),
            ],
        ),
        option("since", Annotated[int | None, _time("From this time on: ISO 8601, or `90m` ago.")]),
        option("until", Annotated[int | None, _time("Before this time.")]),
    ),
)
"""Gives a command that takes a filter, `where`, the options that say what is meant."""
