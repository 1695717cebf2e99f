"""How the client for threads sends a request, walks pages and follows a stream."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from google.protobuf.message import Message
from typing_extensions import Self

from remit.client.answers import Answer
from remit.client.batch_parts import BatchParts
from remit.client.call import ClientCall, Item, Pages, Result, Stream, Upload
from remit.client.decision_cache import DecisionCache
from remit.client.decode import at_least_as_asked
from remit.client.errors import DecisionUnavailable, MalformedQuestion
from remit.client.links import ChannelLinks, Token
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
from remit.client.tls import MutualTls


class SyncTransport:
    """A channel to one server, and a cache of its answers."""

    def __init__(
        self,
        target: str,
        *,
        timeout_s: float = 5.0,
        tls: MutualTls | None = None,
        server_ca: Path | str | None = None,
        token: Token | None = None,
        act_for: Token | None = None,
        cache: int = 0,
    ) -> None:
        """`target` is `HOST:PORT`, or a name of gRPC's such as `dns:///HOST:PORT`; or `http://HOST:PORT` or
        `https://HOST:PORT` to ask over HTTP, with the extra `http-client`. A call to a loopback address goes through no
        proxy. `timeout_s` is the deadline of each call; until then the call is retried while the server is
        unavailable.

        `server_ca` is a PEM file: the CA that signed the server's certificate, for a client with a `token` and without a
        certificate. `token` is a token, or a function that returns one before each call and must not wait long. When a
        PEM file changes, new calls use a new connection.

        `act_for` is the person for whom this client asks, `user:ID`, or a function that returns one before each call. The
        client's own credential needs the right ACT_FOR; calls then have the rights that both have.

        `cache`: how many answers of `check`, `check_reach` and their guards are kept. They are returned again while the
        server says that the tenant's policy is unchanged. AN ANSWER FROM THE CACHE LEAVES NO AUDIT RECORD; the default
        keeps none.

        Raises ValueError if the target is none of them, or if the arguments contradict each other, OSError if a file
        cannot be read or if the files do not fit, and ImportError if the target needs a package that is not installed.
        """
        if cache and callable(act_for):
            raise ValueError("one person would get the answers of another: leave `cache` or `act_for` out")
        self._timeout_s = timeout_s
        self._links = ChannelLinks(
            target, grpc, lambda channel: channel.close(), tls=tls, server_ca=server_ca, token=token, act_for=act_for
        )
        self._cache = DecisionCache(cache) if cache else None
        self._watch = RevisionWatch(self._links, self._cache) if self._cache is not None else None

    def close(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        for channel in self._links.shut():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, call: ClientCall[Any, Result], retry: RetryPolicy | None = None) -> Result:
        """The answer. Without `retry` the call has the deadline of this client."""
        with only_questions():
            request = call.request()
        cache = self._cache if call.cacheable else None
        if cache is not None and self._watch is not None:
            self._watch.start()
        response = cache.get(request) if cache is not None else None
        if response is None:
            response = self._send(request, retry or RetryPolicy(self._timeout_s))
            at_least_as_asked(request, response)
            if cache is not None:
                cache.put(request, response)
        return call.read(response)

    def _ask_parts(self, batch: BatchParts[Any]) -> list[Answer | DecisionUnavailable]:
        """The results of a batch, within the deadline of one call."""
        retry = RetryPolicy(self._timeout_s)
        while (call := batch.next_call()) is not None:
            try:
                batch.add(self._ask(call, retry))
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

    def _walk(self, pages: Pages[Item]) -> Iterator[Item]:
        token = ""
        while True:
            page = self._ask(pages(token))
            yield from page.items
            token = page.next_token
            if not token:
                return

    def _follow(self, stream: Stream[Item]) -> Iterator[Item]:
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

    def _upload(self, upload: Upload[Any, Result]) -> Result:
        """The answer to a stream of requests. It is not sent again."""
        with only_questions():
            requests = upload.requests()
        wrong: list[Exception] = []
        metadata = self._links.metadata()
        link = self._links.enter()
        try:
            rpc = link.uploads.get(upload.name)
            if rpc is None:
                raise no_uploads()
            with only_open_channels():
                call = rpc.future(kept(requests, wrong), timeout=upload.timeout_s, metadata=metadata)
            return upload.read(call.result())
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
