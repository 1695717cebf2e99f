"""Whoever is logged in and sent the request."""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Person:
    """Whoever is logged in and sent the request."""

    name: str
    """For people to read."""
    token: str
    """The access token. Each call to the server carries it."""
    recent: bool
    """Whether the person proved within the last minutes who they are."""
    principal: str = ""
    """Whom calls are made for, where the server takes no tokens of the provider; '' where it does."""


PERSON: Final[ContextVar[Person]] = ContextVar("person")


def token_of_person() -> str:
    """For `AsyncClient(token=...)`. Raises LookupError outside a request of somebody who is logged in."""
    return PERSON.get().token


def principal_of_person() -> str:
    """For `AsyncClient(act_for=...)`. Raises LookupError as above."""
    return PERSON.get().principal


class RecentLoginNeededError(Exception):
    """The person has to prove again who they are. The application sends the browser there, and then back to the page."""
