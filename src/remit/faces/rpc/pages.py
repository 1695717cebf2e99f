import base64
import binascii
import hashlib
import json
from typing import Any, Final

from remit.core.errors import violation
from remit.faces.rpc.calls import PageOfOldPolicyError

PAGE_SIZE: Final = 100
PAGE_LIMIT: Final = 1_000


class Page:
    """A place in a sorted list, bound to one request and one revision. Its token is opaque to callers and no secret."""

    def __init__(self, request: Any, token: str) -> None:
        """`request` is the message without its page fields. Raises MalformedQuestionError for a token of another one."""
        self._request = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
        self.revision = ""
        """Of the page before; empty for the first."""
        self.after = ""
        """What the page before ended with."""
        if not token:
            return
        try:
            told = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
        except (ValueError, binascii.Error):
            told = None
        match told:
            case [str(asked), str(revision), str(after)]:
                self.revision, self.after = revision, after
            case _:
                raise violation("page_token", "is not one that this service gave")
        if asked != self._request:
            raise violation("page_token", "belongs to another request: all fields but the page's must be the same")

    def holds_for(self, revision: str) -> None:
        """Raises PageOfOldPolicyError where the answer is of another revision than the page before."""
        if self.revision and self.revision != revision:
            raise PageOfOldPolicyError("the policy has changed since the first page: begin again without `page_token`")

    def next(self, revision: str, last: str) -> str:
        """The token of the page behind `last`."""
        told = json.dumps([self._request, revision, last])
        return base64.b64encode(told.encode(), altchars=b"-_").decode()
