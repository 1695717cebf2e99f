from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from remit.rpc.expiry import Expiry
from remit.rpc.inline_calls import CallThreads

SOON_S = 0.01
DEADLINE_S = 30


class Call:
    """What is held is only ever a key."""


@pytest.fixture
def threads() -> Iterator[CallThreads]:
    expiry = Expiry()
    made = CallThreads(1, expiry, message_timeout_s=SOON_S, silent_calls=10, refused=lambda _: None)
    yield made
    expiry.stop()
    made.shutdown()


def test_call_that_cannot_be_ended_does_not_stop_other_calls_from_ending(threads: CallThreads) -> None:
    """The thread that ends them has to live: no call would expire any more."""
    ended = Event()

    def fail() -> None:
        threads.expiry.claim(bad)
        raise RuntimeError("the call is dead")

    bad: Any = Call()
    good: Any = Call()
    threads.expiry.expire_after(bad, 0.0, fail)
    threads.expiry.expire_after(good, SOON_S, ended.set)
    assert ended.wait(DEADLINE_S)


def test_silent_call_that_cannot_be_ended_does_not_stop_other_calls_from_ending(threads: CallThreads) -> None:
    ended = Event()

    class Bad:
        def end(self, *_: object) -> None:
            raise RuntimeError("the call is dead")

    class Good:
        def end(self, *_: object) -> None:
            ended.set()

    bad: Any = Bad()
    good: Any = Good()
    threads.await_message(bad)
    threads.await_message(good)
    assert ended.wait(DEADLINE_S)
    assert 0 == threads.silent
