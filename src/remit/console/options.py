from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from remit.client import AsyncClient
from remit.console.guard import LOOPBACK_HOSTS


@dataclass(frozen=True, slots=True)
class Console:
    """What the application is made from."""

    client: Callable[[], AsyncClient]
    """Makes the client, within the event loop."""
    target: str
    """The server's address, as commands name it."""
    hosts: frozenset[str] = LOOPBACK_HOSTS
    graphs: Path | None = None
    """A folder of dependency graphs to show."""
    key: str = ""
    """Opens the console once, for one browser; empty if nobody needs it."""
    ask_again_s: float = 60
    """How long somebody who watches decisions is not asked again for the right to."""
