"""Who decides whom the console lets in."""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from remit.console.person import Person

LOGIN_NEEDED: Final = "Log in first.\n"


class NotAdmittedError(Exception):
    """`answer` is what the browser gets instead."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class LoginFailedError(Exception):
    """Shown on a page that leads to the login. `forget` is a cookie that counts no longer."""

    def __init__(self, text: str, *, title: str = "You are not logged in", status: int = 400, forget: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.title = title
        self.status = status
        self.forget = forget


class Entrance(Protocol):
    """Decides who is admitted."""

    @property
    def routes(self) -> Sequence[Route]:
        """Pages that everybody may open."""
        ...

    def forms(self) -> Iterable[str]:
        """Origins that forms lead to."""
        ...

    async def admit(self, request: Request) -> Person | None:
        """Who sent the request; None if they have no name. Raises NotAdmittedError or LoginFailedError."""
        ...

    def refused(self, request: Request) -> Response:
        """The answer where the server takes the person's token no longer. Raises LoginFailedError."""
        ...

    def again(self, request: Request) -> Response:
        """The answer where the person has to prove again who they are."""
        ...


def navigates(request: Request) -> bool:
    """Whether a person opened this, and not a script of a page. Browsers say so."""
    return request.headers.get("sec-fetch-mode", "navigate") == "navigate"
