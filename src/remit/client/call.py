"""What the two clients share: a call as a request, and how its response is read."""

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
    """One call: an API request, and how its response is read.

    `request` raises AttributeError, TypeError or ValueError for a malformed question. `read` raises DecisionUnavailable
    for a malformed answer.
    """

    request: Callable[[], Message]
    read: Callable[[Response], Result]
    cacheable: bool = False
    """True if a cache may keep the response: one decision, by the revision that it names."""


@dataclass(frozen=True, slots=True)
class ResultPage(Generic[Item]):
    items: Sequence[Item]
    next_token: str
    """Empty on the last page."""


Pages = Callable[[str], ClientCall[Any, ResultPage[Item]]]
"""Makes the call for a page from the page's token, '' for the first page."""

Stream = Callable[[str], Message]
"""Makes the request that resumes a stream from its last cursor, '' for the start."""


def names(texts: Sequence[str]) -> Sequence[str]:
    """Raises TypeError for a single str, which is also a sequence: of names of one character."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list of names, not the text {texts!r}")
    return texts
