from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from remit.audit.ids import format_id
from remit.audit.query.filter import DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.audit.query.recorded_names import parse_recorded_caller, parse_recorded_node, parse_recorded_principal
from remit.cli.audit.options import moment, revision_from
from remit.cli.audit.source import Source
from remit.cli.common.option_group import option, option_group
from remit.cli.common.output import err
from remit.cli.common.parsers import from_text, namespace_from, tenant_from
from remit.client import Client
from remit.core.decision import Reason
from remit.core.errors import InvalidNameError
from remit.core.question import QuestionType
from remit.core.rows import Effect
from remit.v1.audit_service_pb2 import RecordFilter

_NAMES: Final = ("tenant", "namespace", "principal", "caller", "node", "revision")


def filter_to(where: DecisionFilter) -> RecordFilter:
    ids = map(format_id, where.ids)
    return RecordFilter(
        ids=ids,
        **where.equal,
        namespace=where.namespace or "",
        since_us=where.since_us or 0,
        until_us=where.until_us or 0,
    )


def warn_unknown(where: DecisionFilter, source: Source) -> None:
    """Warns on standard error about each name of a filter that is in no record of the audit: it may be misspelt."""
    for name in _NAMES:
        value = getattr(where, name)
        if value is None:
            continue
        of_name = {} if name == "tenant" else {name: value}
        if not _is_known(DecisionFilter(tenant=where.tenant, **of_name), source):
            whose = "" if where.tenant is None or name == "tenant" else f" in tenant `{where.tenant}`"
            err.print(f"the audit holds no decision of {name} `{value}`{whose}")


def _is_known(where: DecisionFilter, source: Source) -> bool:
    def here(store: AuditReader) -> bool:
        return any(each.recorded + each.unrecorded for each in store.counts(where))

    def there(client: Client) -> bool:
        return any(each.recorded + each.unrecorded for each in client.count_records(filter_to(where)))

    return source.answer(here, there)


def _made(*, since: int | None, until: int | None, **words: Any) -> DecisionFilter:
    values: dict[str, Any] = {name: word.value if isinstance(word, StrEnum) else word for name, word in words.items()}
    return DecisionFilter(**values, since_us=since, until_us=until)


def _only(what: str, metavar: str | None = None, parser: Callable[[str], str] | None = None) -> Any:
    return typer.Option(help=f"Only {what}.", metavar=metavar, parser=parser, show_default=False)


def _time(help_text: str) -> Any:
    return typer.Option(parser=moment, metavar="TIME", help=help_text, show_default=False)


_principal = from_text(parse_recorded_principal, InvalidNameError)
_caller = from_text(parse_recorded_caller, InvalidNameError)
_node = from_text(parse_recorded_node, InvalidNameError)

selects: Final = option_group(
    "where",
    _made,
    (
        option("tenant", Annotated[str | None, _only("this tenant", "TENANT", tenant_from)]),
        option(
            "namespace", Annotated[str | None, _only("this namespace and all below it", "NAMESPACE", namespace_from)]
        ),
        option(
            "principal",
            Annotated[
                str | None, _only("this principal, for example user:jim: one whole name", "PRINCIPAL", _principal)
            ],
        ),
        option("effect", Annotated[Effect | None, _only("allows or only denies")]),
        option("reason", Annotated[Reason | None, _only("this reason, for example NO_BINDING", "REASON")]),
        option("question", Annotated[QuestionType | None, _only("this type of question, for example REACH", "TYPE")]),
        option("caller", Annotated[str | None, _only("what this service asked", "CALLER", _caller)]),
        option("node", Annotated[str | None, _only("what this server answered", "NODE", _node)]),
        option(
            "revision",
            Annotated[
                str | None,
                _only("what this revision of the policy decided: 64 digits", "REVISION", revision_from),
            ],
        ),
        option(
            "since",
            Annotated[int | None, _time("From this time on: ISO 8601 (UTC if it names no zone), or `90m` ago.")],
        ),
        option("until", Annotated[int | None, _time("Before this time.")]),
    ),
)
"""Decorates a command that takes a filter, `where`, with the options of that filter."""
