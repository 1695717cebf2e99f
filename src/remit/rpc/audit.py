"""The audit service over gRPC: pages, counts, follow streams and explanations of records."""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import grpc

from remit import wire
from remit.audit.chain.chain import ChainId
from remit.audit.errors import NotCountedError
from remit.audit.query.aggregate import TIMES, Grouping, whole_hours
from remit.audit.query.recorded_names import parse_lifecycle_type, parse_recorded_node
from remit.core.errors import MalformedQuestionError, named, violation
from remit.core.names import parse_tenant
from remit.core.question import Question, ReachQuestion
from remit.rpc.encode_records import GROUPINGS, count_to, heads_to, lifecycle_to, past_answer_to, record_to, shown_to
from remit.rpc.errors import RecordNotFoundError
from remit.rpc.follow_stream import Followers
from remit.rpc.page_token import paged
from remit.rpc.query_servicer import below
from remit.rpc.read_limits import AuditReads
from remit.rpc.record_filter import LAST_TIME_US, filter_from, id_from, name_from, revision_from, time_from
from remit.service.history import PastAnswer, answers_at, show
from remit.service.node import ServerNode
from remit.v1 import audit_service_pb2 as messages
from remit.v1 import audit_service_pb2_grpc

_UNTIL: Final = ":"
_SEARCH_S: Final = 2.0
"""Longest search for one page."""


class AuditServicer(audit_service_pb2_grpc.AuditServiceServicer):
    """The audit over gRPC, for callers who may read it."""

    def __init__(self, node: ServerNode, *, call_timeout_s: float) -> None:
        self._store = node.records
        self._past = node.past
        self._readers = AuditReads(node, call_timeout_s=call_timeout_s)
        self._followers = Followers(node.records, self._readers)

    def close(self) -> None:
        """Ends the followers' streams with UNAVAILABLE."""
        self._followers.close()

    def ListRecords(
        self, request: messages.ListRecordsRequest, context: grpc.ServicerContext
    ) -> messages.ListRecordsResponse:
        timeout_s = self._readers.time_for(context)
        tenant = request.filter.tenant = self._readers.tenant("filter.tenant", request.filter.tenant)
        where = filter_from(request.filter, tenant)
        size, page = paged(request)
        after = _begin(page.after, request.after)
        self._readers.remember("ListRecords", request, tenant, timeout_s, behind=page.after)
        with self._readers.turn(timeout_s):
            found = self._store.page(
                where,
                after=after,
                limit=size,
                newest_first=not request.oldest_first,
                budget_s=min(_SEARCH_S, timeout_s / 2),
            )
        response = messages.ListRecordsResponse(records=map(record_to, found.records))
        if found.beyond is not None:
            response.next_page_token = page.next(found.beyond.hex())
        return response

    def GetRecord(
        self, request: messages.GetRecordRequest, context: grpc.ServicerContext
    ) -> messages.GetRecordResponse:
        timeout_s = self._readers.time_for(context)
        # Nothing is said of the id to callers who may read nothing.
        self._readers.require_any()
        id_ = id_from("id", request.id)
        with self._readers.turn(timeout_s):
            record = self._store.decision(id_)
        # If the caller may not read a record, answer exactly as if it did not exist.
        readable = record is not None and self._readers.may_read(record.tenant)
        self._readers.remember("GetRecord", request, record.tenant if record and readable else "", timeout_s)
        if record is None or not readable:
            raise RecordNotFoundError(f"there is no decision `{request.id}`")
        return shown_to(show(self._store, record, partial(self._past.why, timeout_s=timeout_s)))

    def FollowRecords(
        self, request: messages.FollowRecordsRequest, context: grpc.ServicerContext
    ) -> Iterator[messages.FollowRecordsResponse]:
        tenant = request.filter.tenant = self._readers.tenant("filter.tenant", request.filter.tenant)
        where = filter_from(request.filter, tenant)
        behind = "a cursor" if request.cursor else ""
        self._readers.remember("FollowRecords", request, tenant, self._readers.time_for(context), behind=behind)
        yield from self._followers.follow(request, where, context)

    def CountRecords(
        self, request: messages.CountRecordsRequest, context: grpc.ServicerContext
    ) -> messages.CountRecordsResponse:
        timeout_s = self._readers.time_for(context)
        tenant = request.filter.tenant = self._readers.tenant("filter.tenant", request.filter.tenant)
        where = filter_from(request.filter, tenant)
        if where.ids:
            raise violation("filter.ids", "expected none: decisions are counted, not their records")
        by = _groupings_from(request.group_by)
        size, page = paged(request)
        after = None if page.is_first else _group_from(page.after, by)
        self._readers.remember("CountRecords", request, tenant, timeout_s, behind=page.after)
        try:
            with self._readers.turn(timeout_s):
                counts = self._store.counts(where, by, after=after, limit=size + 1, most_first=request.most_first)
        except NotCountedError as error:
            raise violation("group_by", str(error)) from None
        since_us, until_us = whole_hours(where)
        response = messages.CountRecordsResponse(since_us=since_us or 0, until_us=until_us or 0)
        response.counts.extend(count_to(each, by) for each in counts[:size])
        if len(counts) > size and not request.most_first:
            response.next_page_token = page.next(json.dumps(counts[size - 1].group))
        return response

    def ListLifecycle(
        self, request: messages.ListLifecycleRequest, context: grpc.ServicerContext
    ) -> messages.ListLifecycleResponse:
        timeout_s = self._readers.time_for(context)
        tenant = request.tenant = self._readers.tenant("tenant", request.tenant)
        type_ = name_from("type", parse_lifecycle_type, request.type)
        node = name_from("node", parse_recorded_node, request.node)
        since_us, until_us = time_from("since_us", request.since_us), time_from("until_us", request.until_us)
        size, page = paged(request)
        # Reading a page writes a record: without a fixed end, pages in order of time would never stop.
        last_hex, _, until_hex = page.after.partition(_UNTIL)
        after = _begin(last_hex, request.after)
        until = _id_of_token(until_hex) if until_hex else None
        self._readers.remember("ListLifecycle", request, tenant, timeout_s, behind=last_hex)
        with self._readers.turn(timeout_s):
            if request.oldest_first and until is None:
                until = next((each.id for each in self._store.lifecycle(limit=1)), b"")
            found = self._store.lifecycle(
                type_=type_,
                tenant=tenant or None,
                node=node,
                since_us=since_us,
                until_us=until_us,
                after=after,
                limit=size,
                newest_first=not request.oldest_first,
                without_calls=request.without_calls,
            )
        found = [each for each in found if until is None or each.id <= until]
        response = messages.ListLifecycleResponse(records=map(lifecycle_to, found))
        if len(found) == size:
            last = found[-1].id.hex()
            response.next_page_token = page.next(last if until is None else f"{last}{_UNTIL}{until.hex()}")
        return response

    def ListHeads(
        self, request: messages.ListHeadsRequest, context: grpc.ServicerContext
    ) -> messages.ListHeadsResponse:
        timeout_s = self._readers.time_for(context)
        tenant = request.tenant = self._readers.tenant("tenant", request.tenant)
        size, page = paged(request)
        after = None if page.is_first else _chain_from(page.after)
        self._readers.remember("ListHeads", request, tenant, timeout_s, behind=page.after)
        with self._readers.turn(timeout_s):
            found = self._store.heads(tenant or None, after=after, limit=size + 1)
            verified = self._store.last_verification(tenant)
        response = heads_to(found[:size], verified)
        if len(found) > size:
            response.next_page_token = page.next(json.dumps(found[size - 1].chain))
        return response

    def ExplainPast(
        self, request: messages.ExplainPastRequest, context: grpc.ServicerContext
    ) -> messages.ExplainPastResponse:
        timeout_s = self._readers.time_for(context)
        tenant = named("tenant", parse_tenant, request.tenant)
        question = _question_from(request)
        node = name_from("node", parse_recorded_node, request.node) or ""
        revision = revision_from("revision", request.revision)
        time_us = time_from("time_us", request.time_us) or 0
        explain = partial(self._past.why, timeout_s=timeout_s)
        self._readers.remember("ExplainPast", request, tenant, timeout_s)
        match request.WhichOneof("at"):
            case "revision":
                answers = [PastAnswer(revision, (), explain(tenant, revision, question))]
            case "time_us":
                answers = answers_at(self._store, tenant, question, time_us, node=node, explain=explain)
            case _:
                raise violation("at", "is missing: expected `time_us` or `revision`")
        if not answers:
            raise RecordNotFoundError(
                f"no node served a policy of tenant `{tenant}` at that time, as far as the records show"
            )
        return messages.ExplainPastResponse(answers=map(past_answer_to, answers))


def _question_from(request: messages.ExplainPastRequest) -> Question | ReachQuestion:
    asked = request.WhichOneof("question")
    try:
        match asked:
            case "access":
                return wire.question_from(request.access)[0]
            case "reach":
                return wire.reach_question_from(request.reach)[0]
    except MalformedQuestionError as error:
        raise below(asked or "", error) from None
    raise violation("question", "is missing: expected `access` or `reach`")


def _groupings_from(asked: Iterable[messages.CountGrouping.ValueType]) -> list[Grouping]:
    found: list[Grouping] = []
    for number, each in enumerate(asked):
        grouping = GROUPINGS.get(each)
        if grouping is None:
            raise violation(f"group_by[{number}]", f"is {each}, which this server does not know")
        if grouping in found:
            raise violation(f"group_by[{number}]", f"names `{grouping}` a second time: expected each once")
        found.append(grouping)
    return found


def _begin(last_hex: str, after: str) -> bytes | None:
    """The id after which a page begins: the last id of the page before, otherwise the request's `after`."""
    if last_hex:
        return _id_of_token(last_hex)
    return id_from("after", after) if after else None


def _chain_from(text: str) -> ChainId:
    """The last chain of the page before."""
    try:
        match json.loads(text):
            case [str(table), str(tenant), str(node)]:
                return ChainId(table, tenant, node)
    except (ValueError, RecursionError):
        pass
    raise violation("page_token", "is not one that this service gave")


def _id_of_token(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise violation("page_token", "is not one that this service gave") from None


def _group_from(text: str, by: Sequence[Grouping]) -> tuple[str | int, ...]:
    """The last group of the page before."""
    kinds = [int if grouping in TIMES else str for grouping in by]
    try:
        group = json.loads(text)
    except (ValueError, RecursionError):
        group = None
    if (
        not isinstance(group, list)
        or [type(value) for value in group] != kinds
        or any(isinstance(value, int) and not 0 <= value <= LAST_TIME_US for value in group)
    ):
        raise violation("page_token", "is not one that this service gave")
    return tuple(group)
