"""Streams new audit records to followers."""

from collections.abc import Iterator
from threading import Event
from time import monotonic
from typing import Final

import grpc

from remit.audit.ids import first_id_at
from remit.audit.query.change_feed import ChangeFeed, Cursor
from remit.audit.query.filter import CLOCK_SLACK_US, DecisionFilter
from remit.audit.query.reader import AuditReader
from remit.core.errors import violation
from remit.rpc.encode_records import record_to
from remit.rpc.errors import StoppingError
from remit.rpc.page_token import PageToken
from remit.rpc.read_limits import AuditReads
from remit.rpc.record_filter import id_from
from remit.v1 import audit_service_pb2 as messages

_BATCH: Final = 200
_LOOK_EVERY_S: Final = 0.2
_TURN_S: Final = 60.0
_TELL_EVERY_S: Final = 5.0
"""Interval at which a follower gets a new cursor, if only records outside its filter moved it."""


class Followers:
    """The streams of followers. They do not delay a stop."""

    def __init__(self, store: AuditReader, readers: AuditReads) -> None:
        self._store = store
        self._readers = readers
        self._closing = Event()

    def close(self) -> None:
        """Ends the streams with UNAVAILABLE."""
        self._closing.set()

    def follow(
        self, request: messages.FollowRecordsRequest, where: DecisionFilter, context: grpc.ServicerContext
    ) -> Iterator[messages.FollowRecordsResponse]:
        """Streams the records of `where`, the filter of the request, for a tenant that the caller may read."""
        cursor = request.cursor
        request.ClearField("cursor")
        page = PageToken(request, cursor, "cursor")
        with self._readers.turn(_TURN_S):
            follow = self._begun(request, where, page.after if cursor else None)
        yield messages.FollowRecordsResponse(cursor=page.next(follow.position.dump()))
        told, told_at = follow.position, monotonic()
        while context.is_active():
            if self._closing.is_set():
                raise StoppingError("the server is stopping")
            self._readers.require(where.tenant or "")
            with self._readers.turn(_TURN_S):
                records = follow.more(_BATCH)
            if records or (follow.position != told and monotonic() - told_at > _TELL_EVERY_S):
                told, told_at = follow.position, monotonic()
                yield messages.FollowRecordsResponse(records=map(record_to, records), cursor=page.next(told.dump()))
            elif not follow.is_behind:
                self._closing.wait(_LOOK_EVERY_S)

    def _begun(self, request: messages.FollowRecordsRequest, where: DecisionFilter, position: str | None) -> ChangeFeed:
        if position is not None:
            try:
                return ChangeFeed(self._store, where, Cursor.load(position, where))
            except ValueError as error:
                raise violation("cursor", str(error)) from None
        if request.after:
            return ChangeFeed.begin(self._store, where, id_from("after", request.after))
        since_us = where.since_us
        return ChangeFeed.begin(
            self._store, where, None if since_us is None else first_id_at(since_us - CLOCK_SLACK_US)
        )
