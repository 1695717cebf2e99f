import signal
import socket
import subprocess
import sys


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
