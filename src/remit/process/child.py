import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def start_child(module: str, function: str) -> tuple["subprocess.Popen[bytes]", socket.socket]:
    """A process of our own interpreter, and our end of a socket. It calls `function` of `module` with the descriptor of
    the other end, and should end when ours is closed."""
    ours, theirs = socket.socketpair()
    with theirs:
        # -P: a file of the working directory must not stand in for a module.
        # What is imported stays, and is not looked through for garbage.
        imported = f"import gc; gc.disable(); from {module} import {function}; gc.freeze(); gc.enable()"
        code = f"{imported}; {function}({theirs.fileno()})"
        try:
            process = subprocess.Popen(  # noqa: S603 (our own interpreter)
                [sys.executable, "-P", "-c", code], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
        except OSError:
            ours.close()
            raise
    return process, ours


def leave_signals_to_parent() -> None:
    """Ctrl-C, and the end of a terminal, reach every process of it. The parent drains first, and then ends its children."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def wire_to_parent(descriptor: int) -> Iterator[tuple[socket.socket, Any]]:
    """The child's end of the socket, and the same as a file to read and write. The block ends, without an error, when
    the parent's end is gone."""
    # What could not be sent is flushed once more when the file is closed: that is outside of the block.
    with (
        suppress(EOFError, ConnectionError),
        socket.socket(fileno=descriptor) as stream,
        stream.makefile("rwb") as file,
    ):
        yield stream, file
