"""What the synchronous and the asynchronous client share: a question as a request, and how its response is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from google.protobuf.message import Message

Response = TypeVar("Response")
Result = TypeVar("Result")
Item = TypeVar("Item")
Parameters = ParamSpec("Parameters")


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
