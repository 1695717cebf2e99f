"""Reads a YAML tree against a closed schema. A reader returns None, with a diagnostic, if the node is invalid."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from remit.core.errors import InvalidNameError
from remit.core.names import quote
from remit.policy.read.report import Diagnostics, did_you_mean
from remit.policy.read.yaml import Mapping, Node, Scalar, Sequence

_T = TypeVar("_T")


class Schema:
    """Schema readers, bound to the file that they report on."""

    def __init__(self, file: str, report: Diagnostics) -> None:
        self.file = file
        self.report = report

    def refuse(self, node: Node, message: str) -> None:
        self.report.add(self.file, node.line, node.column, message)

    def fields(
        self, node: Node, what: str, required: Iterable[str] = (), optional: Iterable[str] = ()
    ) -> dict[str, Node]:
        """The values of a mapping that may have only these keys."""
        if not isinstance(node, Mapping):
            self.refuse(node, f"expected {what} as a mapping")
            return {}
        required = tuple(required)
        known = (*required, *optional)
        for key, _ in node.items.values():
            if key.text not in known:
                names = ", ".join(f"`{each}`" for each in known)
                hint = did_you_mean(key.text, known)
                self.refuse(key, f"unknown key `{quote(key.text)}` in {what}: expected {names}{hint}")
        fields = {key: value for key, (_, value) in node.items.items() if key in known}
        missing = [key for key in required if key not in fields]
        if missing:
            self.refuse(node, f"{what} lacks `{'`, `'.join(missing)}`")
        return fields

    def entries(self, node: Node | None, what: str) -> Iterator[tuple[Scalar, Node]]:
        """The (name, value) pairs of a mapping with free keys; none if the node is absent."""
        if node is None:
            return
        if not isinstance(node, Mapping):
            self.refuse(node, f"expected {what} as a mapping")
            return
        yield from node.items.values()

    def items(self, node: Node | None, what: str) -> Iterator[Node]:
        if node is None:
            return
        if not isinstance(node, Sequence):
            self.refuse(node, f"expected {what} as a list")
            return
        yield from node.items

    def text(self, node: Node, what: str) -> str | None:
        if not isinstance(node, Scalar):
            self.refuse(node, f"expected {what} as text")
            return None
        return node.text

    def name(self, node: Node, what: str, parse: Callable[[str], _T]) -> _T | None:
        """A text that `parse` accepts; `parse` raises InvalidNameError if it does not."""
        text = self.text(node, what)
        if text is None:
            return None
        try:
            return parse(text)
        except InvalidNameError as error:
            self.refuse(node, str(error))
            return None

    def choice(self, node: Node, what: str, choices: Iterable[str]) -> str | None:
        text = self.text(node, what)
        choices = tuple(choices)
        if text is not None and text not in choices:
            names = ", ".join(f"`{each}`" for each in choices)
            hint = did_you_mean(text, choices)
            self.refuse(node, f"`{quote(text)}` is not {what}: expected one of {names}{hint}")
            return None
        return text

    def boolean(self, node: Node | None, what: str) -> bool:
        """False if the node is absent."""
        return node is not None and self.choice(node, f"{what}, a boolean", ("true", "false")) == "true"
