from collections.abc import Iterable, Mapping
from typing import Final

from remit import wire
from remit.client import DecisionUnavailable
from remit.console.cells import Table, code, plain, tenant_link
from remit.console.forms import Input, errors_at, fields, missing
from remit.console.view import View, WebPage
from remit.console.visit import BadInputError, NotShown, Visit
from remit.core.errors import InvalidNameError
from remit.v1 import decision_pb2, policy_service_pb2, resource_service_pb2

_INPUTS: Final = (
    Input("ns", "Namespace", "acme.finance", "namespace"),
    Input("rev", "Revision", "the one that serves", "revision"),
)
_LEVELS: Final = {
    resource_service_pb2.RESOURCE_LEVEL_NAMESPACE: "namespace",
    resource_service_pb2.RESOURCE_LEVEL_TENANT: "the tenant",
}


async def show(visit: Visit) -> View:
    """One namespace: what it may use, who may use what it owns, which resources serve it, and who may do what there."""
    namespace = visit.text("ns")
    if not namespace:
        return _view(visit, missing(_INPUTS, visit.query, "ns"), sentence=await visit.unknown())
    not_shown: list[NotShown] = []
    tables = []
    try:
        revision = await visit.revision()
        about = visit.about.with_terms(revision=revision)
        vocabulary = await about.get_vocabulary()
        reach = await visit.allowed(about.list_reachable(namespace), "What it reaches", "LIST", not_shown)
        served = await visit.allowed(
            about.resolve_dedicated(namespace),
            "Its resources",
            "RESOLVE",
            not_shown,
        )
    except (DecisionUnavailable, BadInputError) as refusal:
        return _view(visit, errors_at(_INPUTS, visit, refusal))
    tables.append(
        Table(
            "kinds",
            "Who may do what here",
            ("kind", "matrix"),
            [
                [
                    code(each.kind),
                    plain("show", "again")._replace(
                        href=tenant_link(visit.tenant, "matrix", ns=namespace, k=each.kind, rev=revision)
                    ),
                ]
                for each in vocabulary.kinds
                if each.kind_class == policy_service_pb2.KIND_CLASS_NAMESPACE
            ],
        )
    )
    if reach is not None:
        tables.append(
            Table(
                "reach",
                "Reach",
                ("relation", "may use what is owned by", "is used by work in"),
                [[code(each.relation), code(sets(each.uses)), code(sets(each.used_by))] for each in reach.relations],
            )
        )
    if served is not None:
        tables.append(
            Table(
                "resources",
                "Dedicated resources",
                ("resource", "name", "named by", "type", "denied services"),
                [
                    [
                        plain(
                            resource_service_pb2.ResourceType.Name(each.resource).removeprefix("RESOURCE_TYPE_").lower()
                        ),
                        code(each.name) if each.name else plain("the instance's own"),
                        code(each.level_namespace or _LEVELS.get(each.level, "")),
                        plain(each.type),
                        code(" ".join(each.denied_services)),
                    ]
                    for each in served.resources
                ],
            )
        )
    return _view(visit, tables=tables, not_shown=not_shown)


def sets(found: Iterable[decision_pb2.NamespaceSet]) -> str:
    """A union of sets of namespaces, in words."""
    texts = []
    for each in found:
        try:
            texts.append(str(wire.set_from(each)))
        except InvalidNameError:
            texts.append(" ".join(each.only))
    return "; ".join(texts)


def _view(
    visit: Visit,
    errors: Mapping[str, str] | None = None,
    tables: Iterable[Table] = (),
    not_shown: Iterable[NotShown] = (),
    sentence: str = "",
) -> View:
    errors = errors or {}
    namespace, revision = visit.text("ns"), visit.text("rev")
    ways = {
        "Who may do something here?": tenant_link(visit.tenant, "who", ns=namespace, rev=revision),
        "Decisions here and below": tenant_link(visit.tenant, "decisions", ns=namespace),
        "Reach map": tenant_link(visit.tenant, "reach", ns=namespace, rev=revision),
        "Names below": tenant_link(visit.tenant, "names", q=namespace, rev=revision),
    }
    return View(
        namespace if namespace and not errors else f"A namespace of {visit.tenant}",
        ["resolve", visit.tenant, *filter(None, [namespace])],
        [*tables],
        "form.html",
        {
            "fields": fields(_INPUTS, visit, errors),
            "button": "Show",
            "sentence": errors.get("", sentence),
            "ways": ways if namespace and not errors else {},
        },
        [*not_shown],
        400 if errors else 200,
    )


PAGE: Final = WebPage("namespace", "/t/{tenant}/namespace", "", show)
