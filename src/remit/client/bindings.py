"""The calls that grant and revoke rows at run time: how to build each request and read its response."""

from collections.abc import Sequence
from uuid import uuid4

from remit.client.call import ClientCall, Pages, ResultPage
from remit.client.questions import RuntimeBinding
from remit.v1 import binding_service_pb2 as messages
from remit.v1.decision_pb2 import Origin


def change_bindings(
    tenant: str,
    grants: Sequence[RuntimeBinding] = (),
    revokes: Sequence[RuntimeBinding] = (),
    *,
    granter: str = "",
    reason: str = "",
    expected_position: str = "",
    must_exist: Sequence[RuntimeBinding] = (),
    must_not_exist: Sequence[RuntimeBinding] = (),
    request_id: str = "",
    dry_run: bool = False,
    on_behalf_of: str = "",
    trace_id: str = "",
) -> ClientCall[messages.ChangeBindingsResponse, messages.ChangeBindingsResponse]:
    # The client may send the request again, if no answer comes.
    name = request_id or uuid4().hex
    return ClientCall(
        lambda: messages.ChangeBindingsRequest(
            tenant=tenant,
            grants=_rows(grants),
            revokes=_rows(revokes),
            granter=granter,
            expected_position=expected_position,
            must_exist=_rows(must_exist),
            must_not_exist=_rows(must_not_exist),
            request_id=name,
            reason=reason,
            dry_run=dry_run,
            origin=Origin(on_behalf_of=on_behalf_of, trace_id=trace_id),
        ),
        lambda response: response,
    )


def list_bindings(tenant: str, member: str = "", holds: str = "", *, page_size: int = 0) -> Pages[messages.GrantedRow]:
    def page(token: str) -> ClientCall[messages.ListBindingsResponse, ResultPage[messages.GrantedRow]]:
        return ClientCall(
            lambda: messages.ListBindingsRequest(
                tenant=tenant, member=member, holds=holds, page_size=page_size, page_token=token
            ),
            lambda response: ResultPage(response.rows, response.next_page_token),
        )

    return page


def _rows(rows: Sequence[RuntimeBinding]) -> list[messages.RuntimeRow]:
    return [
        messages.RuntimeRow(member=each.member, holds=each.holds, scope=each.scope, expires_us=each.expires_us)
        for each in rows
    ]
