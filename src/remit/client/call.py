"""What the synchronous and the asynchronous client share: a question as a request, and how its response is read."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

Response = TypeVar("Response")
Result = TypeVar("Result")
Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")
_Owner = TypeVar("_Owner")
_Returned = TypeVar("_Returned")


@dataclass(frozen=True, slots=True)
class ClientCall(Generic[Response, Result]):
    """One question: a request of the API, and how its response is read.

    `request` raises AttributeError, TypeError or ValueError for what is no question; `read` raises DecisionUnavailable
    for what is no answer.
    """

    request: Callable[[], Message]
    read: Callable[[Response], Result]
    kept: bool = False
    """Whether a cache may keep the response: one decision, by the revision that it names."""


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[Item]):
    items: Sequence[Item]
    next_token: str
    """Empty on the last page."""


Pages = Callable[[str], ClientCall[Any, ResultPage[Item]]]
"""From a page's token, empty for the first, to the question for that page."""

Stream = Callable[[str], Message]
"""From the cursor of a stream that ended, empty for none, to the request that begins it there."""


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
