"""Tokens of the pages of a search: a place in a sorted list, bound to one request by a MAC."""

import base64
import binascii
import hashlib
import hmac
from typing import Final, NamedTuple

from remit.core.errors import violation

_VERSION: Final = b"1"
_MAC_BYTES: Final = 16
_LIMIT_BYTES: Final = 8
_NO_LIMIT: Final = (1 << 64) - 1


class PlaceInSearch(NamedTuple):
    limit: int | None
    """As the first request had it."""
    after: str | None
    """The last result of the pages before; None before the first result."""


class SearchPages:
    """Makes and reads tokens. Servers that share the secret read each other's."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def token(self, place: PlaceInSearch, *request: bytes) -> str:
        """`request` is what the token belongs to: the API, the tenant and the hash of the request."""
        limit = _NO_LIMIT if place.limit is None else min(place.limit, _NO_LIMIT - 1)
        after = b"" if place.after is None else b"=" + place.after.encode()
        told = _VERSION + limit.to_bytes(_LIMIT_BYTES, "big") + after
        return base64.urlsafe_b64encode(self._mac(told, request) + told).decode()

    def place(self, token: str, *request: bytes) -> PlaceInSearch:
        """Raises MalformedQuestionError for a token of another request or server, or a changed one."""
        try:
            raw = base64.b64decode(token.encode(), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            raw = b""
        mac, told = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        # Several texts stand for the same bytes: only the one that we gave counts.
        same = base64.urlsafe_b64encode(raw).decode() == token
        if not same or not hmac.compare_digest(mac, self._mac(told, request)):
            raise violation("page.token", "is none that was given for this request: all but `page` must be the same")
        number = int.from_bytes(told[1 : 1 + _LIMIT_BYTES], "big")
        after = told[1 + _LIMIT_BYTES :]
        return PlaceInSearch(None if number == _NO_LIMIT else number, after[1:].decode() if after else None)

    def _mac(self, told: bytes, request: tuple[bytes, ...]) -> bytes:
        mac = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in (told, *request):
            mac.update(len(part).to_bytes(8, "big") + part)
        return mac.digest()[:_MAC_BYTES]
