"""A YAML parser with positions, reduced to what policy files need: mappings, sequences and texts."""

from dataclasses import dataclass
from typing import Final

import yaml

from remit.core.names import quote
from remit.policy.read.report import Diagnostics

_DEPTH: Final = 16
_NULLS: Final = ("", "~", "null", "Null", "NULL")
# Both parsers report an unclosed quote with these texts.
_QUOTED: Final = "while scanning a quoted scalar"
_AT_THE_END: Final = "found unexpected end of stream"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    line: int
    column: int


@dataclass(slots=True)
class Sequence:
    items: "list[Node]"
    line: int
    column: int


@dataclass(slots=True)
class Mapping:
    items: "dict[str, tuple[Scalar, Node]]"
    """The key with its position, and the value, by the key's text."""
    line: int
    column: int


Node = Scalar | Sequence | Mapping


class _YamlRefusedError(Exception):
    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def parse_yaml(file: str, text: str, report: Diagnostics) -> Mapping | None:
    """The one document of `text`, whose top must be a mapping; None, with a diagnostic, if it is not."""
    try:
        node = _Builder().build(text)
    except yaml.MarkedYAMLError as error:
        mark, problem = error.problem_mark or error.context_mark, error.problem or error.context
        if error.context == _QUOTED and problem == _AT_THE_END:
            # Report where the quote opens: the end of the file says nothing.
            mark, problem = error.context_mark, "a quote opens here and is closed nowhere"
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        report.add(file, line, column, f"is not YAML: {problem}")
        return None
    except yaml.YAMLError as error:
        report.add(file, 0, 0, f"is not YAML: {error}")
        return None
    except _YamlRefusedError as error:
        report.add(file, error.line, error.column, str(error))
        return None
    if not isinstance(node, Mapping):
        report.add(file, 1, 1, "expected a mapping at the top")
        return None
    return node


class _Builder:
    """Builds the tree from parse events on a stack of its own: this class bounds the depth, not Python."""

    def __init__(self) -> None:
        self._open: list[Sequence | Mapping] = []
        self._key: list[Scalar | None] = []
        self._top: Node | None = None
        self._documents = 0

    def build(self, text: str) -> Node | None:
        for event in yaml.parse(text, Loader=_LOADER):
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise _YamlRefusedError(line, column, "a second document: expected one document a file")
                if event.tags or event.version:
                    raise _YamlRefusedError(line, column, "a YAML directive: expected none")
            elif isinstance(event, yaml.AliasEvent):
                raise _YamlRefusedError(line, column, f"alias `*{event.anchor}`: write the value out")
            elif isinstance(event, yaml.NodeEvent):
                self._begin(event, line, column)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._key.pop()
                self._open.pop()
        return self._top

    def _begin(self, event: yaml.NodeEvent, line: int, column: int) -> None:
        if event.anchor:
            raise _YamlRefusedError(line, column, f"anchor `&{event.anchor}`: write the value out where it is needed")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            raise _YamlRefusedError(line, column, f"tag `{event.tag}`: every value is text, a list or a mapping")
        if isinstance(event, yaml.ScalarEvent):
            if not event.style and event.value in _NULLS:
                raise _YamlRefusedError(line, column, f"`{event.value}` is null: write a value, or leave the key out")
            self._place(Scalar(event.value, line, column))
            return
        node = Sequence([], line, column) if isinstance(event, yaml.SequenceStartEvent) else Mapping({}, line, column)
        self._place(node)
        if len(self._open) == _DEPTH:
            raise _YamlRefusedError(line, column, f"is nested deeper than {_DEPTH} levels")
        self._open.append(node)
        self._key.append(None)

    def _place(self, node: Node) -> None:
        if not self._open:
            self._top = node
            return
        parent = self._open[-1]
        if isinstance(parent, Sequence):
            parent.items.append(node)
            return
        key = self._key[-1]
        if key is not None:
            parent.items[key.text] = (key, node)
            self._key[-1] = None
            return
        if not isinstance(node, Scalar):
            raise _YamlRefusedError(node.line, node.column, "a list or mapping as a key: expected a name")
        if node.text == "<<":
            raise _YamlRefusedError(node.line, node.column, "merge key `<<`: write the values out")
        if node.text in parent.items:
            raise _YamlRefusedError(node.line, node.column, f"duplicate key `{quote(node.text)}`")
        self._key[-1] = node


def lines_of_long_texts(text: str) -> frozenset[int]:
    """The 1-based lines of texts that span several lines, in valid YAML: blanks have a meaning there."""
    lines: set[int] = set()
    for event in yaml.parse(text, Loader=_LOADER):
        start, end = event.start_mark, event.end_mark
        if isinstance(event, yaml.ScalarEvent) and start and end and start.line != end.line:
            lines.update(range(start.line + 1, end.line + 2))
    return frozenset(lines)


def plain(node: Node) -> object:
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, (_, value) in node.items.items()}
