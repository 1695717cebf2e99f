"""Answers from policy files: in this process, by the server's servicers."""

from collections.abc import Mapping
from math import inf
from pathlib import Path
from pkgutil import resolve_name
from sys import maxsize
from typing import Any, Final

from google.protobuf.message import Message

from remit.audit.ids import DecisionIds
from remit.audit.journal.pending import Callback
from remit.cli.common.backend import NO_WORDS, Backend
from remit.cli.common.policy_files import FilePolicies
from remit.client.stubs import METHODS
from remit.core.decision import Reason
from remit.core.errors import FieldViolation, MalformedQuestionError
from remit.core.hints import instead_of
from remit.core.names import Tenant, Word
from remit.engine.explain.access import words_instead
from remit.rpc.call_context import caller
from remit.rpc.query_servicer import QueryServicer
from remit.service.callers import ANONYMOUS
from remit.service.decision_point import DecisionPoint

# Each is imported when it is asked: a question needs one.
_SERVICERS: Final = {
    "remit.v1.AccessService": "remit.rpc.access:AccessServicer",
    "remit.v1.ReachService": "remit.rpc.reach:ReachServicer",
    "remit.v1.SearchService": "remit.rpc.search:SearchServicer",
    "remit.v1.ResourceService": "remit.rpc.resources:ResourceServicer",
    "remit.v1.PolicyService": "remit.rpc.policy_words:PolicyWordsServicer",
    "remit.v1.VisibilityService": "remit.rpc.visibility:VisibilityServicer",
}


class LocalBackend(Backend):
    """The server's servicers over the files of a policy directory. It records nothing, and needs no server."""

    def __init__(self, policies: Path) -> None:
        self._policies = FilePolicies(policies)
        self._point = DecisionPoint("", self._policies, _NoJournal(), DecisionIds(), _NoMetrics(), 0.0)

    def ask(self, request: Message, arguments: Mapping[str, str] = NO_WORDS) -> Any:
        _, service, method = METHODS[request.DESCRIPTOR.full_name].path.split("/")
        # The limits protect a server from its callers.
        servicer_type: type[QueryServicer] = resolve_name(_SERVICERS[service])
        servicer = servicer_type(
            self._point, batch_limit=maxsize, max_message_bytes=maxsize, call_timeout_s=inf, names_limit=maxsize
        )
        # Servicers change the request that they are given.
        received = type(request)()
        received.CopyFrom(request)
        caller.set(ANONYMOUS)
        try:
            return _without_ids(getattr(servicer, method)(received, _CallContext()))
        except MalformedQuestionError as error:
            fields = ((each.field.removeprefix("question."), each.description) for each in error.violations)
            violations = (FieldViolation(arguments.get(field, field), text) for field, text in fields)
            raise MalformedQuestionError(*violations) from None

    def hint(self, request: Any, reason: Reason) -> str:
        asked = getattr(request, "question", request)
        tenant = Tenant(request.tenant)
        if reason is Reason.UNKNOWN_TENANT:
            return instead_of(tenant, self._policies.tenant_names())
        snapshot = self._policies.snapshot(tenant)
        assert snapshot is not None
        if reason is Reason.UNKNOWN_RELATION:
            known = snapshot.policy.vocabulary.relations
            relations = getattr(asked, "relations", None) or [asked.relation]
            return instead_of(next(each for each in relations if each not in known), known)
        if reason in {Reason.UNKNOWN_KIND, Reason.UNKNOWN_ACTION}:
            return words_instead(snapshot, asked.action, getattr(asked, "kind", Word("")), reason)
        return ""


class _NoJournal:
    """In the place of a journal: records go nowhere."""

    def offer(self, records: object, timeout_s: float | None, unrecorded: object, /) -> None:
        """Nothing to wait for."""

    def offer_then(self, records: object, callback: Callback, unrecorded: object, /) -> bool:
        del records, unrecorded
        callback(None)
        return True


class _NoMetrics:
    """Counts nothing: nobody scrapes a command."""

    def decided(self, tenant: str, effect: str, reason: str, count: int = 1) -> None: ...

    def unrecorded(self, decisions: int) -> None: ...


class _CallContext:
    """The part of a `grpc.ServicerContext` that servicers read: a call without a deadline and without metadata.

    Servicers raise errors. Only the server's boundary turns an error into a status and aborts the call.
    """

    def time_remaining(self) -> float:
        return inf

    def invocation_metadata(self) -> tuple[()]:
        return ()


def _without_ids(response: Any) -> Any:
    """The response, in which no decision has an id: there is no record that it could name."""
    for message in (response, *getattr(response, "parts", ())):
        for field in {"decision", "receipt"}.intersection(message.DESCRIPTOR.fields_by_name):
            getattr(message, field).decision_id = ""
    return response
