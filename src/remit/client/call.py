"""What the two clients share: a call as a request, and how its response is read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

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

Item_co = TypeVar("Item_co", covariant=True)


class Stream(Protocol[Item_co]):
    """A stream of answers, as far as it was read."""

    has_end: bool
    """False if the server never ends it without an error."""

    @property
    def may_resume(self) -> bool:
        """False if it must not be asked for again, because a part of it was read."""

    def request(self) -> Message:
        """The request that resumes the stream where it was read last, or starts it."""

    def read(self, response: Any) -> Sequence[Item_co]:
        """The items that an answer completes. A request from then on resumes the stream after them."""


@dataclass(frozen=True, slots=True)
class Upload(Generic[Response, Result]):
    """A call whose requests are a stream. `requests` raises as the request of a `ClientCall`."""

    requests: Callable[[], Iterator[Message]]
    name: str
    """The full name of a request."""
    read: Callable[[Response], Result]
    timeout_s: float


def names(texts: Sequence[str]) -> Sequence[str]:
    """Raises TypeError for a single str, which is also a sequence: of names of one character."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list of names, not the text {texts!r}")
    return texts
