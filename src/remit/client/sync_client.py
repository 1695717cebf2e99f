import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, Self

import grpc
from google.protobuf.message import Message

from remit.client import access, audit, reach, resources, search
from remit.client.call import ClientCall, Item, Pages, Parameters, Result, Stream, method_of
from remit.client.decision_cache import DecisionCache
from remit.client.retry import CHANNEL_OPTIONS, RetryPolicy, ended, only_questions
from remit.client.revision_watch import RevisionWatch
from remit.client.stubs import following_over, rpcs_over
from remit.client.tls import MutualTls
from remit.v1.audit_service_pb2 import Record


def _asks(
    question: Callable[Parameters, ClientCall[Any, Result]],
) -> "Callable[Concatenate[Client, Parameters], Result]":
    def method(self: "Client", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return self._ask(question(*args, **kwargs))

    return method_of(question, method)


def _walks(
    question: Callable[Parameters, Pages[Item]],
) -> "Callable[Concatenate[Client, Parameters], Iterator[Item]]":
    def method(self: "Client", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[Item]:
        return self._walk(question(*args, **kwargs))

    return method_of(question, method)


def _follows(
    question: Callable[Parameters, Stream],
) -> "Callable[Concatenate[Client, Parameters], Iterator[Record]]":
    def method(self: "Client", /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Iterator[Record]:
        return self._follow(question(*args, **kwargs))

    return method_of(question, method)


class Client:
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable where there is no answer; the guards raise AccessDenied where the answer is
    a deny; and nothing else is raised. An answer is never made up: a server that is away is not an allow.
    """

    def __init__(self, target: str, *, timeout_s: float = 5.0, tls: MutualTls | None = None, cache: int = 0) -> None:
        """`target` is `HOST:PORT`; `timeout_s` the deadline of each call, which is tried again until then where the
        server is not available.

        `cache`: how many answers of `check`, `check_reach` and their guards are kept and given again while the server
        says that the tenant's policy is unchanged. An ANSWER FROM THE CACHE LEAVES NO AUDIT RECORD; none are kept
        unless you say so.
        """
        self._timeout_s = timeout_s
        self._channel = (
            grpc.insecure_channel(target, CHANNEL_OPTIONS)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), CHANNEL_OPTIONS)
        )
        self._rpcs = rpcs_over(self._channel)
        self._following = following_over(self._channel)
        self._cache = DecisionCache(cache) if cache else None
        self._watch = RevisionWatch(self._channel, self._cache) if self._cache is not None else None

    check = _asks(access.check)
    guard = _asks(access.guard)
    batch_check = _asks(access.batch_check)
    explain = _asks(access.explain)
    check_operation = _asks(access.check_operation)
    guard_operation = _asks(access.guard_operation)

    check_reach = _asks(reach.check_reach)
    guard_reach = _asks(reach.guard_reach)
    batch_check_reach = _asks(reach.batch_check_reach)
    check_reach_all = _asks(reach.check_reach_all)
    guard_reach_all = _asks(reach.guard_reach_all)
    explain_reach = _asks(reach.explain_reach)
    list_reachable = _asks(reach.list_reachable)

    list_actions = _asks(search.list_actions)
    list_namespaces = _asks(search.list_namespaces)
    list_principals = _walks(search.list_principals)
    plan_filter = _asks(search.plan_filter)

    visible_graph = _asks(resources.visible_graph)
    resolve_dedicated = _asks(resources.resolve_dedicated)
    list_served = _asks(resources.list_served)

    status = _asks(access.status)

    list_records = _walks(audit.list_records)
    get_record = _asks(audit.get_record)
    follow_records = _follows(audit.follow_records)
    count_records = _walks(audit.count_records)
    list_lifecycle = _walks(audit.list_lifecycle)
    explain_past = _asks(audit.explain_past)
    explain_past_reach = _asks(audit.explain_past_reach)

    def ask(self, request: Message) -> Any:
        """The API's response to any of its requests, unread, with this client's deadline, retries and errors."""
        return self._ask(ClientCall(lambda: request, lambda response: response))

    def close(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: ClientCall[Any, Result]) -> Result:
        with only_questions():
            request = call.request()
            cache = self._cache if call.kept else None
            response = cache.get(request) if cache is not None else None
            if response is None:
                response = self._send(request)
                if cache is not None:
                    cache.put(request, response)
        return call.read(response)

    def _send(self, request: Message) -> Any:
        rpc = self._rpcs[request.DESCRIPTOR.full_name]
        patience = RetryPolicy(self._timeout_s)
        while True:
            try:
                return rpc(request, timeout=patience.left_s)
            except grpc.RpcError as error:
                pause_s = patience.pause_s(error)
            time.sleep(pause_s)

    def _walk(self, pages: Pages[Item]) -> Iterator[Item]:
        token = ""
        while True:
            page = self._ask(pages(token))
            yield from page.items
            token = page.next_token
            if not token:
                return

    def _follow(self, stream: Stream) -> Iterator[Record]:
        cursor = ""
        patience = RetryPolicy(self._timeout_s)
        while True:
            with only_questions():
                call = self._following(stream(cursor))
            begun = False
            try:
                for response in call:
                    begun, cursor = True, response.cursor
                    yield from response.records
            except grpc.RpcError as error:
                patience = RetryPolicy(self._timeout_s) if begun else patience
                pause_s = patience.pause_s(error)
            else:
                raise ended()
            finally:
                call.cancel()
            time.sleep(pause_s)
