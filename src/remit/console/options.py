from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from remit.client import AsyncClient
from remit.console.guard import LOOPBACK_HOSTS
from remit.console.login.entrance import Entrance


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """What the application is made from."""

    client: Callable[[], AsyncClient]
    """Makes the client, within the event loop."""
    target: str
    """The server's address, as commands name it."""
    hosts: frozenset[str] = LOOPBACK_HOSTS
    entrance: Entrance | None = None
    """Who is let in; None for everybody who reaches the console."""
    secure: bool = False
    """Whether browsers reach the console by https."""
    graphs: Path | None = None
    """A folder of dependency graphs to show."""
    ask_again_s: float = 60
    """How long somebody who watches decisions is not asked again for the right to."""
