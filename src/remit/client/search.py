"""The reverse queries of Check: how to build each request and read its response. See the client's methods."""

from collections.abc import Sequence

from remit import wire
from remit.client.answers import Plan
from remit.client.call import ClientCall, Pages, ResultPage, names
from remit.client.decode import reason_of, recorded
from remit.client.errors import DecisionUnavailable
from remit.client.questions import NamespaceRows, PrincipalRows
from remit.core.errors import InvalidNameError
from remit.v1 import decision_pb2
from remit.v1 import search_service_pb2 as messages


def list_actions(
    tenant: str,
    principal: str,
    namespace: str = "",
    *,
    kinds: Sequence[str] = (),
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.ListActionsResponse, messages.ListActionsResponse]:
    return ClientCall(
        lambda: messages.ListActionsRequest(
            tenant=tenant,
            principal=principal,
            namespace=namespace,
            kinds=names(kinds),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def list_namespaces(
    tenant: str,
    principal: str,
    action: str = "",
    kind: str = "",
    *,
    among: Sequence[str] = (),
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.ListNamespacesResponse, messages.ListNamespacesResponse]:
    return ClientCall(
        lambda: messages.ListNamespacesRequest(
            tenant=tenant,
            principal=principal,
            action=action,
            kind=kind,
            among=names(among),
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        recorded,
    )


def list_principals(
    tenant: str,
    action: str,
    kind: str,
    namespace: str = "",
    *,
    page_size: int = 0,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> Pages[messages.PermittedPrincipal]:
    def page(
        token: str,
    ) -> ClientCall[messages.ListPrincipalsResponse, ResultPage[messages.PermittedPrincipal]]:
        return ClientCall(
            lambda: messages.ListPrincipalsRequest(
                tenant=tenant,
                action=action,
                kind=kind,
                namespace=namespace,
                page_size=page_size,
                page_token=token,
                origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
                revision=revision,
                at_least=at_least,
            ),
            lambda response: ResultPage(recorded(response).principals, response.next_page_token),
        )

    return page


def list_held(
    tenant: str,
    principal: str,
    *,
    page_size: int = 0,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> Pages[messages.HeldEntry]:
    def page(token: str) -> ClientCall[messages.ListHeldResponse, ResultPage[messages.HeldEntry]]:
        return ClientCall(
            lambda: messages.ListHeldRequest(
                tenant=tenant,
                principal=principal,
                page_size=page_size,
                page_token=token,
                origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
                revision=revision,
                at_least=at_least,
            ),
            lambda response: ResultPage(recorded(response).entries, response.next_page_token),
        )

    return page


def plan_filter(
    tenant: str,
    principal: str,
    action: str,
    kind: str,
    *,
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.PlanFilterResponse, Plan]:
    return ClientCall(
        lambda: messages.PlanFilterRequest(
            tenant=tenant,
            principal=principal,
            action=action,
            kind=kind,
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        ),
        _plan,
    )


def list_matrix(
    tenant: str,
    rows: PrincipalRows | NamespaceRows,
    *,
    kinds: Sequence[str] = (),
    actions: Sequence[str] = (),
    page_size: int = 0,
    page_token: str = "",
    on_behalf_of: str = "",
    trace_id: str = "",
    revision: str = "",
    at_least: str = "",
) -> ClientCall[messages.ListMatrixResponse, messages.ListMatrixResponse]:
    def request() -> messages.ListMatrixRequest:
        asked = messages.ListMatrixRequest(
            tenant=tenant,
            kinds=names(kinds),
            actions=names(actions),
            page_size=page_size,
            page_token=page_token,
            origin=decision_pb2.Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
            revision=revision,
            at_least=at_least,
        )
        match rows:
            case PrincipalRows(namespace, principals, holding):
                people = messages.PrincipalRows(namespace=namespace, principals=names(principals), holding=holding)
                asked.principals.CopyFrom(people)
            case NamespaceRows(principal, namespaces, below):
                places = messages.NamespaceRows(principal=principal, namespaces=names(namespaces), below=below)
                asked.namespaces.CopyFrom(places)
            case _:
                raise TypeError(f"expected PrincipalRows or NamespaceRows, not {rows!r}")
        return asked

    return ClientCall(request, recorded)


def _plan(response: messages.PlanFilterResponse) -> Plan:
    receipt = recorded(response).receipt
    try:
        namespaces = wire.set_from(response.namespaces)
    except InvalidNameError as error:
        raise DecisionUnavailable("INTERNAL", str(error)) from error
    reason = reason_of(receipt.reason) if receipt.reason else None
    return Plan(namespaces, receipt.decision_id, receipt.revision, reason, position=receipt.position)
