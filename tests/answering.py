"""A child process that answers, for the tests of what parents and children say to each other."""

import os
import sys
import time

from remit.core.errors import RemitError
from remit.process.channel import answer_requests, channel_to_parent


def serve(descriptor: int) -> None:
    """Answers each order with its number, the first message and the niceness; some orders it obeys."""
    with channel_to_parent(descriptor, nice=3) as channel:
        first, number = channel.receive(), 0
        while True:
            number += 1
            match channel.receive():
                case "sleep":
                    time.sleep(600)
                case "exit":
                    sys.exit(7)
                case "many":
                    shared = [number]
                    channel.send_all([shared, shared, None])
                    continue
            channel.send((number, first, os.nice(0)))


def serve_numbers(descriptor: int) -> None:
    """Answers each number with its double; a text is an error."""
    answer_requests(descriptor, 0, _doubled)


def _doubled(asked: int | str) -> tuple[int, int]:
    if isinstance(asked, str):
        raise RemitError(asked)
    time.sleep(asked)
    return 2 * asked, os.getpid()
