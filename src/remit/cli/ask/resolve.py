from collections.abc import Sequence
from typing import Annotated

import typer

from remit import wire
from remit.cli.ask.check import TenantArgument
from remit.cli.common.as_json import JsonOption, print_json
from remit.cli.common.backend import Backend, end_where_refused, with_backend
from remit.cli.common.output import Exit, out, styled
from remit.cli.common.table import Cell, print_table
from remit.core.errors import named, violation
from remit.core.names import parse_resource
from remit.core.policy import ResourceType
from remit.core.rows import Effect
from remit.v1 import resource_service_pb2 as messages

NamespaceArgument = Annotated[
    str, typer.Argument(help="For example `acme.finance`; leave it out for the tenant itself.", show_default=False)
]
ServiceOption = Annotated[
    str,
    typer.Option(
        metavar="SERVICE", help="May this service use them? A service of the vocabulary, for example `WEBSERVER`."
    ),
]
TypesOption = Annotated[
    list[ResourceType] | None,
    typer.Option("--resource", help="Only this type; may be repeated.", show_default=False),
]
ResourceArgument = Annotated[
    str, typer.Argument(metavar="TYPE/NAME", help="For example `storage/acme-default`.", show_default=False)
]


@with_backend
def resolve(
    tenant: TenantArgument,
    namespace: NamespaceArgument = "",
    service: ServiceOption = "",
    resource: TypesOption = None,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Show the storage, secrets backend and worker group that serve a namespace, and the level that assigns each.

    Exits 1 if --service names a service that may not use one of them. --json also has the
    settings.

    Example: `remit resolve acme acme.finance.payroll --service WEBSERVER`
    """
    request = messages.ResolveDedicatedRequest(
        tenant=tenant,
        namespace=namespace,
        resources=[wire.RESOURCE_TYPES[each] for each in dict.fromkeys(resource or ())],
        service=service,
    )
    response: messages.ResolveDedicatedResponse = backend.ask(request)
    if as_json:
        print_json(response)
    end_where_refused(response.receipt, request, backend)
    if not as_json:
        _print_resolved(response)
    denied = any(each.service == wire.EFFECTS[Effect.DENY.value] for each in response.resources)
    raise typer.Exit(Exit.NO if denied else Exit.OK)


@with_backend
def served(
    tenant: TenantArgument,
    resource: ResourceArgument,
    as_json: JsonOption = False,
    *,
    backend: Backend,
) -> None:
    """Show what a dedicated resource serves: namespaces of a tenant, or in `_instance` the tenants that may name it.

    Exits 1 if it serves nothing there, also if it is not open to the tenant.

    Example: `remit served acme storage/acme-default`
    """
    resource_type, name = _resource(resource)
    request = messages.ListServedRequest(tenant=tenant, resource=wire.RESOURCE_TYPES[resource_type], name=name)
    response: messages.ListServedResponse = backend.ask(request)
    if as_json:
        print_json(response)
    end_where_refused(response.receipt, request, backend)
    if not as_json:
        _print_served(response)
    serves = response.serves_tenant or response.namespaces or response.tenants
    raise typer.Exit(Exit.OK if serves else Exit.NO)


def _resource(text: str) -> tuple[ResourceType, str]:
    section, _, name = text.partition("/")
    if section not in list(ResourceType):
        types = ", ".join(f"`{each}/NAME`" for each in ResourceType)
        raise violation("resource", f"`{text}`: expected one of {types}")
    return ResourceType(section), named("name", parse_resource, name)


def _print_resolved(response: messages.ResolveDedicatedResponse) -> None:
    asked = any(each.service for each in response.resources)
    names = ("resource", "name", "from", "type", "read only", "fallback", "denied to")
    rows: list[Sequence[Cell]] = []
    for each in response.resources:
        effect = wire.EFFECT_OF.get(each.service)
        colour = "red" if effect is Effect.DENY else "green"
        cells = [styled((effect, colour)) if effect is not None else ""] if asked else []
        level = each.level_namespace or ("tenant" if each.level == messages.RESOURCE_LEVEL_TENANT else "none")
        read_only = "yes" if each.read_only else ""
        fields = (wire.RESOURCE_TYPE_OF.get(each.resource, ""), each.name, level, each.type, read_only, each.fallback)
        rows.append((*fields, ", ".join(each.denied_services), *cells))
    print_table((*names, *(["service"] if asked else [])), rows)


def _print_served(response: messages.ListServedResponse) -> None:
    for tenant in response.tenants:
        out.print(f"open to {tenant}")
    if response.serves_tenant:
        out.print("the tenant itself")
    for each in response.namespaces:
        out.print(str(wire.set_from(each)))
    if not (response.tenants or response.serves_tenant or response.namespaces):
        out.print("nothing here")
