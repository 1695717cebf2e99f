"""A page: where it is, what it is called, and how it is made from a visit."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from remit.console.cells import Table
from remit.console.visit import NotShown, Visit


@dataclass(frozen=True, slots=True)
class View:
    """What a page says to one visit."""

    title: str
    command: Sequence[str] = ()
    """The words of the `remit` command that says the same; empty if there is none."""
    tables: Sequence[Table] = ()
    template: str = "tables.html"
    context: Mapping[str, Any] = field(default_factory=dict)
    not_shown: Sequence[NotShown] = ()
    """What the page leaves out, because the person may not see it."""
    status: int = 200
    suggests: bool = False
    """The page's inputs take words of the vocabulary, which the browser then suggests."""

    def table(self, name: str) -> Table | None:
        return next((each for each in self.tables if each.name == name), None)


@dataclass(frozen=True, slots=True)
class WebPage:
    name: str
    """What tests and links call it."""
    path: str
    """As in Starlette's routes. All else of a page's state stands in the query."""
    label: str
    """In the navigation; empty for a page that only other pages link to."""
    show: Callable[[Visit], Awaitable[View]]
    group: str = ""
    """The heading in the navigation."""
    act: Callable[[Visit, Mapping[str, str]], Awaitable["View | str"]] | None = None
    """What a POST of the page's form does: shows a view, or leads to a link."""

    @property
    def of_tenant(self) -> bool:
        return self.path.startswith("/t/{tenant}")
