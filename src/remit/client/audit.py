"""The calls that read the audit: how to build each request and read its response. See the client's methods."""

from collections.abc import Sequence

from remit.client.call import ClientCall, Pages, ResultPage, names
from remit.client.decode import known
from remit.v1 import access_service_pb2, reach_service_pb2
from remit.v1 import audit_service_pb2 as messages


def list_records(
    where: messages.RecordFilter | None = None, *, oldest_first: bool = False, after: str = "", page_size: int = 0
) -> Pages[messages.Record]:
    def page(token: str) -> ClientCall[messages.ListRecordsResponse, ResultPage[messages.Record]]:
        return ClientCall(
            lambda: messages.ListRecordsRequest(
                filter=where, oldest_first=oldest_first, after=after, page_size=page_size, page_token=token
            ),
            lambda response: ResultPage(response.records, response.next_page_token),
        )

    return page


def get_record(decision_id: str) -> ClientCall[messages.GetRecordResponse, messages.GetRecordResponse]:
    return ClientCall(lambda: messages.GetRecordRequest(id=decision_id), known)


class RecordStream:
    """The records that a filter selects, as they are committed."""

    has_end, may_resume = False, True

    def __init__(self, where: messages.RecordFilter | None, after: str) -> None:
        self._where = where
        self._after = after
        self._cursor = ""

    def request(self) -> messages.FollowRecordsRequest:
        return messages.FollowRecordsRequest(filter=self._where, after=self._after, cursor=self._cursor)

    def read(self, response: messages.FollowRecordsResponse) -> Sequence[messages.Record]:
        self._cursor = response.cursor
        return response.records


def count_records(
    where: messages.RecordFilter | None = None,
    group_by: Sequence[str] = (),
    *,
    most_first: bool = False,
    page_size: int = 0,
) -> Pages[messages.RecordCount]:
    def page(token: str) -> ClientCall[messages.CountRecordsResponse, ResultPage[messages.RecordCount]]:
        return ClientCall(
            lambda: messages.CountRecordsRequest(
                filter=where,
                group_by=[_grouping(each) for each in names(group_by)],
                most_first=most_first,
                page_size=page_size,
                page_token=token,
            ),
            lambda response: ResultPage(response.counts, response.next_page_token),
        )

    return page


def list_lifecycle(
    tenant: str = "",
    *,
    type: str = "",  # noqa: A002 (as the API has it)
    node: str = "",
    since_us: int = 0,
    until_us: int = 0,
    oldest_first: bool = False,
    after: str = "",
    page_size: int = 0,
    without_calls: bool = False,
) -> Pages[messages.LifecycleRecord]:
    def page(token: str) -> ClientCall[messages.ListLifecycleResponse, ResultPage[messages.LifecycleRecord]]:
        return ClientCall(
            lambda: messages.ListLifecycleRequest(
                tenant=tenant,
                type=type,
                node=node,
                since_us=since_us,
                until_us=until_us,
                oldest_first=oldest_first,
                after=after,
                page_size=page_size,
                page_token=token,
                without_calls=without_calls,
            ),
            lambda response: ResultPage(response.records, response.next_page_token),
        )

    return page


def list_heads(tenant: str = "", *, page_size: int = 0) -> Pages[messages.ChainHead]:
    def page(token: str) -> ClientCall[messages.ListHeadsResponse, ResultPage[messages.ChainHead]]:
        return ClientCall(
            lambda: messages.ListHeadsRequest(tenant=tenant, page_size=page_size, page_token=token),
            lambda response: ResultPage(response.heads, response.next_page_token),
        )

    return page


def explain_past(
    tenant: str,
    principal: str,
    action: str,
    kind: str,
    namespace: str = "",
    *,
    time_us: int = 0,
    revision: str = "",
    node: str = "",
) -> ClientCall[messages.ExplainPastResponse, messages.ExplainPastResponse]:
    return ClientCall(
        lambda: _past(
            messages.ExplainPastRequest(
                tenant=tenant,
                access=access_service_pb2.Question(principal=principal, action=action, kind=kind, namespace=namespace),
                node=node,
            ),
            time_us,
            revision,
        ),
        known,
    )


def explain_past_reach(
    tenant: str, caller: str, owner: str, relation: str, *, time_us: int = 0, revision: str = "", node: str = ""
) -> ClientCall[messages.ExplainPastResponse, messages.ExplainPastResponse]:
    return ClientCall(
        lambda: _past(
            messages.ExplainPastRequest(
                tenant=tenant,
                reach=reach_service_pb2.ReachQuestion(caller=caller, owner=owner, relation=relation),
                node=node,
            ),
            time_us,
            revision,
        ),
        known,
    )


def _grouping(name: str) -> messages.CountGrouping.ValueType:
    try:
        return messages.CountGrouping.Value(f"COUNT_GROUPING_{name.upper()}")
    except ValueError:
        known = (each.removeprefix("COUNT_GROUPING_").lower() for each in messages.CountGrouping.keys()[1:])
        raise ValueError(f"group_by: `{name}`: expected one of {', '.join(known)}") from None


def _past(request: messages.ExplainPastRequest, time_us: int, revision: str) -> messages.ExplainPastRequest:
    if bool(time_us) == bool(revision):
        raise ValueError("expected either `time_us` or `revision`")
    if revision:
        request.revision = revision
    else:
        request.time_us = time_us
    return request
