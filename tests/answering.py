"""A child process that answers, for the tests of what parents and children say to each other."""

import os
import sys
import time

from remit.process.channel import channel_to_parent


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
