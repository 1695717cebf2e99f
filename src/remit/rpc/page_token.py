"""Page tokens and page sizes."""

import base64
import binascii
import hashlib
import json
import re
from typing import Any, Final

from remit.core.errors import violation
from remit.rpc.errors import PageOfOldPolicyError

PAGE_SIZE: Final = 100
PAGE_LIMIT: Final = 1_000
_DIGITS: Final = 9


def size_of(asked: int, limit: int = PAGE_LIMIT) -> int:
    """Items in a page. Raises MalformedQuestionError for more than a page may hold."""
    if asked > limit:
        raise violation("page_size", f"is {asked}: expected at most {limit}")
    return asked or PAGE_SIZE


def paged(request: Any, *others: str, limit: int = PAGE_LIMIT) -> tuple[int, "PageToken"]:
    """The page size, at most `limit`, and the page of a request. Clears the page fields, and `others`, which may differ
    between pages."""
    size, token = size_of(request.page_size, limit), request.page_token
    for field in ("page_size", "page_token", *others):
        request.ClearField(field)
    return size, PageToken(request, token)


class PageToken:
    """A place in a sorted list, bound to one request and, if there is one, to one revision. The token is opaque to
    callers, but not secret."""

    def __init__(self, request: Any, token: str, field: str = "page_token") -> None:
        """`request` is the message without its page fields. Raises MalformedQuestionError for another
        request's token."""
        self._request = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        self.revision = ""
        """The revision of the page before; empty for the first page."""
        self.after = ""
        """The last item of the page before."""
        if not token:
            return
        try:
            told = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        except (ValueError, RecursionError, binascii.Error):
            told = None
        match told:
            case [str(asked), str(revision), str(after)]:
                self.revision, self.after = revision, after
            case _:
                raise violation(field, "is not one that this service gave")
        if asked != self._request:
            raise violation(field, "belongs to another request: all fields but the page's must be the same")

    @property
    def count(self) -> int:
        """The items on the pages before, if `next` was given their number. Raises MalformedQuestionError."""
        if not self.after:
            return 0
        if not re.fullmatch("[0-9]{1,9}", self.after):
            raise violation("page_token", "is not one that this service gave")
        return int(self.after)

    @property
    def is_first(self) -> bool:
        return not self.after

    @property
    def number(self) -> int:
        """The number that the page before ended with; 0 for the first page. Raises MalformedQuestionError."""
        if self.after and not (self.after.isascii() and self.after.isdecimal()):
            raise violation("page_token", "is not one that this service gave")
        return int(self.after[:_DIGITS]) if self.after else 0

    def holds_for(self, revision: str) -> None:
        """Raises PageOfOldPolicyError if the answer has another revision than the page before."""
        if self.revision and self.revision != revision:
            raise PageOfOldPolicyError("the policy has changed since the first page: begin again without `page_token`")

    def next(self, last: str, revision: str = "") -> str:
        """The token of the page after `last`."""
        told = json.dumps([self._request, revision, last])
        return base64.b64encode(told.encode(), altchars=b"-_").decode()
