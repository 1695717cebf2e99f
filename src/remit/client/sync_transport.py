"""How the client for threads sends a request, walks pages and follows a stream."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.protobuf.message import Message

from remit.client.answers import Answer
from remit.client.batch_parts import BatchParts
from remit.client.call import Item, Response, Result, Stream
from remit.client.decision_cache import DecisionCache
from remit.client.decode import at_least_as_asked
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.client.links import ChannelLinks
from remit.client.retry import (
    RetryPolicy,
    kept,
    no_uploads,
    only_open_channels,
    only_questions,
    require_end,
    unavailable,
)
from remit.client.revision_watch import RevisionWatch


class SyncTransport:
    """Sends the calls of a client over its links, and caches answers."""

    def __init__(self, links: ChannelLinks, timeout_s: float, cache: int) -> None:
        """`timeout_s` is the deadline of each call; `cache` is the number of answers to cache."""
        self._links = links
        self._timeout_s = timeout_s
        self._cache = DecisionCache(cache) if cache else None
        self._watch = RevisionWatch(links, self._cache) if self._cache is not None else None

    def close(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        for channel in self._links.shut():
            channel.close()

    def ask(
        self,
        request: Callable[[], Message],
        read: Callable[[Response], Result],
        *,
        retry: RetryPolicy | None = None,
        cacheable: bool = False,
    ) -> Result:
        """What `read` makes of the response. `request` raises AttributeError, TypeError or ValueError for a malformed
        question. Without `retry` the call has the deadline of this client. `cacheable` is one decision, by the revision
        that it names."""
        with only_questions():
            message = request()
        cache = self._cache if cacheable else None
        if cache is not None and self._watch is not None:
            self._watch.start()
        response = cache.get(message) if cache is not None else None
        if response is None:
            response = self._send(message, retry or RetryPolicy(self._timeout_s))
            at_least_as_asked(message, response)
            if cache is not None:
                cache.put(message, response)
        return read(response)

    def ask_parts(self, batch: BatchParts[Any]) -> list[Answer | DecisionUnavailable]:
        """The results of a batch, within the deadline of one call."""
        retry = RetryPolicy(self._timeout_s)
        while batch.left:
            try:
                self.ask(batch.request, batch.read, retry=retry)
            except MalformedQuestion as refusal:
                batch.halve(refusal)
            retry.answered()
        return batch.results

    def _send(self, request: Message, retry: RetryPolicy) -> Any:
        while True:
            metadata = self._links.metadata()
            link = self._links.enter()
            try:
                rpc = link.rpcs[request.DESCRIPTOR.full_name]
                with only_open_channels():
                    return rpc(request, timeout=retry.left_s, metadata=metadata)
            except grpc.RpcError as error:
                pause_s = self._pause_s(retry, error)
            finally:
                self._links.leave(link)
            time.sleep(pause_s)

    def walk(self, request: Callable[[], Any], read: Callable[[Any], Iterable[Item]]) -> Iterator[Item]:
        """The items that `read` finds in each page."""
        token = ""

        def of_page() -> Any:
            message = request()
            message.page_token = token
            return message

        while True:
            page: Any = self.ask(of_page, lambda response: response)
            yield from read(page)
            token = page.next_page_token
            if not token:
                return

    def follow(self, stream: Stream[Item]) -> Iterator[Item]:
        retry = RetryPolicy(self._timeout_s)
        while True:
            with only_questions():
                request = stream.request()
            metadata = self._links.metadata()
            link = self._links.enter()
            call, begun = None, False
            try:
                with only_open_channels():
                    call = self._links.open(link, request, metadata=metadata)
                for response in call:
                    begun = True
                    yield from stream.read(response)
            except grpc.RpcError as error:
                retry = RetryPolicy(self._timeout_s) if begun else retry
                pause_s = self._pause_s(retry, error, again=stream.may_resume)
            else:
                require_end(stream)
                return
            finally:
                if call is not None:
                    call.cancel()
                self._links.leave(link, call)
            time.sleep(pause_s)

    def upload(self, request: type[Message], requests: Callable[[], Iterator[Message]], timeout_s: float) -> Any:
        """The response to a stream of requests of one type. It is not sent again."""
        with only_questions():
            messages = requests()
        wrong: list[Exception] = []
        metadata = self._links.metadata()
        link = self._links.enter()
        try:
            rpc = link.uploads.get(request.DESCRIPTOR.full_name)
            if rpc is None:
                raise no_uploads()
            with only_open_channels():
                call = rpc.future(kept(messages, wrong), timeout=timeout_s, metadata=metadata)
            return call.result()
        except grpc.RpcError as error:
            if wrong:
                raise MalformedQuestion(str(wrong[0])) from wrong[0]
            raise unavailable(error, self._links.cause(error)) from error
        finally:
            self._links.leave(link)

    def _pause_s(self, retry: RetryPolicy, error: grpc.RpcError, *, again: bool = True) -> float:
        """Seconds until the next attempt. Raises DecisionUnavailable if there is none, or must be none `again`."""
        pause_s = retry.pause_s(error) if again else None
        if pause_s is None:
            reason = retry.reason(error)
            raise unavailable(reason, self._links.cause(reason)) from error
        return pause_s
