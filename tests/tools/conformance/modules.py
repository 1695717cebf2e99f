"""The modules: what is sent, and what the server must answer. `modules.json` holds them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final


class Level(StrEnum):
    """What a server claims. Each level is tried by the modules of its plans."""

    BASIC = "basic"
    BATCH = "batch"
    SEARCH = "search"
    DISCOVERY = "discovery"


class Support(StrEnum):
    CORE = "core"
    """Decisions by identifiers alone."""
    PROPERTIES = "properties"
    """Decisions by properties of the request too."""


class Credentials(StrEnum):
    """What a module shows in place of the credential that the user gave."""

    GIVEN = "given"
    NONE = "none"
    WRONG = "wrong"


PLANS: Final[Mapping[Level, tuple[str, ...]]] = {
    Level.BASIC: ("evaluation",),
    Level.BATCH: ("evaluations",),
    Level.SEARCH: ("subject-search", "resource-search", "action-search"),
    Level.DISCOVERY: ("discovery",),
}


@dataclass(frozen=True, slots=True)
class KnownException:
    """The suite of OpenID expects something else than its own specification."""

    issue: str
    suite: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ConformanceModule:
    plan: str
    name: str
    support: Support
    expect: Mapping[str, Any]
    """One member: `status`, `decision`, `evaluations`, `results` or `metadata`."""
    request: Any = None
    body: str | None = None
    """The body as text, for one that is no JSON."""
    method: str = "POST"
    content_type: str = "application/json"
    credentials: Credentials = Credentials.GIVEN
    request_id: bool = False
    """Send an `X-Request-ID`, which the answer must carry."""
    repeat: int = 1
    """Ask so often, and expect the same answer."""
    pages: bool = False
    """Follow `page.next_token`, and judge the results of all pages."""
    exception: KnownException | None = None

    def sent(self, token: str = "") -> bytes:
        """The body, with the token of a page."""
        if self.body is not None:
            return self.body.encode()
        request = self.request
        if token:
            request = {**request, "page": {**request.get("page", {}), "token": token}}
        return json.dumps(request).encode()


@cache
def all_modules() -> tuple[ConformanceModule, ...]:
    entries = json.loads(Path(__file__).with_name("modules.json").read_bytes())
    return tuple(_module(**entry) for entry in entries)


def modules_of(level: Level) -> tuple[ConformanceModule, ...]:
    return tuple(each for each in all_modules() if each.plan in PLANS[level])


def _module(
    *, level: str, credentials: str = "given", exception: Mapping[str, Any] | None = None, **words: Any
) -> ConformanceModule:
    known = None if exception is None else KnownException(**exception)
    return ConformanceModule(support=Support(level), credentials=Credentials(credentials), exception=known, **words)
