"""What a call is made of: the terms that its tenant client binds, and a stream of answers."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from google.protobuf.message import Message

Response = TypeVar("Response")
Result = TypeVar("Result")
Item = TypeVar("Item")
Request = TypeVar("Request", bound=Message)


class Terms(NamedTuple):
    """What all calls of a tenant client have in common."""

    tenant: str
    on_behalf_of: str = ""
    trace_id: str = ""
    revision: str = ""
    at_least: str = ""

    def bind(self, request: Request) -> Request:
        """The request, with these terms. Raises ValueError if the call cannot keep `revision` or `at_least`."""
        message: Any = request
        fields = message.DESCRIPTOR.fields_by_name
        message.tenant = self.tenant
        if "origin" in fields and (self.on_behalf_of or self.trace_id):
            message.origin.MergeFrom(type(message.origin)(on_behalf_of=self.on_behalf_of, trace_id=self.trace_id))
        for name, value in (("revision", self.revision), ("at_least", self.at_least)):
            if value and name not in fields:
                raise ValueError(f"{name}: {message.DESCRIPTOR.name} has none: ask a tenant client without `{name}`")
            if value:
                setattr(message, name, value)
        return request


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
