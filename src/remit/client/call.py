"""What the synchronous and the asynchronous client share: a question as a request, and how its response is read."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import grpc

from remit.v1.access_service_pb2_grpc import AccessServiceStub
from remit.v1.reach_service_pb2_grpc import ReachServiceStub
from remit.v1.resource_service_pb2_grpc import ResourceServiceStub
from remit.v1.search_service_pb2_grpc import SearchServiceStub
from remit.v1.status_service_pb2_grpc import StatusServiceStub
from remit.v1.visibility_service_pb2_grpc import VisibilityServiceStub

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")
Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")
_Owner = TypeVar("_Owner")
_Returned = TypeVar("_Returned")


class Stubs:
    """The services of one channel. Over a channel of grpc.aio their methods are awaited."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.access = AccessServiceStub(channel)
        self.reach = ReachServiceStub(channel)
        self.search = SearchServiceStub(channel)
        self.visibility = VisibilityServiceStub(channel)
        self.resource = ResourceServiceStub(channel)
        self.status = StatusServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Call(Generic[Request, Response, Result]):
    """One question to one RPC.

    `request` raises AttributeError, TypeError or ValueError for what is no question; `read` raises DecisionUnavailable
    for what is no answer.
    """

    rpc: "Callable[[Stubs], grpc.UnaryUnaryMultiCallable[Request, Response]]"
    request: Callable[[], Request]
    read: Callable[[Response], Result]


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    items: Sequence[Item]
    next_token: str
    """Empty on the last page."""


Pages = Callable[[str], Call[Any, Any, Page[Item]]]
"""From a page's token, empty for the first, to the question for that page."""


def names(texts: Sequence[str]) -> Sequence[str]:
    """Raises TypeError for one text: it is a sequence too, of names of one character."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list of names, not the text {texts!r}")
    return texts


def method_of(
    question: Callable[..., object], method: Callable[Concatenate[_Owner, Parameters], _Returned]
) -> Callable[Concatenate[_Owner, Parameters], _Returned]:
    """The method, with the name, the documentation and, behind `self`, the parameters of the question."""
    method.__name__, method.__doc__ = question.__name__, question.__doc__
    signature = inspect.signature(question)
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    parameters = [itself, *signature.parameters.values()]
    method.__signature__ = signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)  # type: ignore[attr-defined]
    return method
