import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Concatenate, Self

import grpc
from google.protobuf.message import Message

from remit.client import access, reach, resources, search
from remit.client.call import Call, Item, Pages, Parameters, Result, method_of
from remit.client.methods import rpcs_over
from remit.client.patience import CHANNEL_OPTIONS, Patience, only_questions
from remit.client.tls import MutualTls


def _asks(
    question: Callable[Parameters, Call[Any, Result]],
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


class Client:
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable where there is no answer; the guards raise AccessDenied where the answer is
    a deny; and nothing else is raised. An answer is never made up: a server that is away is not an allow.
    """

    def __init__(self, target: str, *, timeout_s: float = 5.0, tls: MutualTls | None = None) -> None:
        """`target` is `HOST:PORT`; `timeout_s` the deadline of each call, which is tried again until then where the
        server is not available."""
        self._timeout_s = timeout_s
        self._channel = (
            grpc.insecure_channel(target, CHANNEL_OPTIONS)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), CHANNEL_OPTIONS)
        )
        self._rpcs = rpcs_over(self._channel)

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

    def ask(self, request: Message) -> Any:
        """The API's response to any of its requests, unread, with this client's deadline, retries and errors."""
        return self._ask(Call(lambda: request, lambda response: response))

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: Call[Any, Result]) -> Result:
        patience = Patience(self._timeout_s)
        with only_questions():
            request = call.request()
            rpc = self._rpcs[request.DESCRIPTOR.full_name]
            while True:
                try:
                    response = rpc(request, timeout=patience.left_s)
                    break
                except grpc.RpcError as error:
                    pause_s = patience.pause_s(error)
                time.sleep(pause_s)
        return call.read(response)

    def _walk(self, pages: Pages[Item]) -> Iterator[Item]:
        token = ""
        while True:
            page = self._ask(pages(token))
            yield from page.items
            token = page.next_token
            if not token:
                return
