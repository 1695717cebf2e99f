from collections.abc import Iterable, Iterator, Mapping

from remit.core.rows import Link, ReachRule, Rule
from remit.policy.lint.finding import LintFinding, RuleId
from remit.policy.read.csv import column
from remit.policy.read.report import Diagnostics
from remit.policy.read.text import read_text
from remit.policy.read.tree import Tree
from remit.policy.read.yaml import Mapping as YamlMapping
from remit.policy.read.yaml import Node, Scalar, Sequence, parse_yaml


class PolicySources:
    """The files of a tree that loads, to find positions in them."""

    def __init__(self, tree: Tree) -> None:
        self._texts: dict[str, str] = {}
        for folder in (tree.root, *tree.tenants.values()):
            for file, content in folder.files.items():
                self._texts[file] = read_text(file, content, Diagnostics()) or ""
        self._lines: dict[str, list[str]] = {}
        self._documents: dict[str, YamlMapping | None] = {}

    @property
    def files(self) -> Mapping[str, str]:
        return self._texts

    def lines(self, file: str) -> list[str]:
        if file not in self._lines:
            self._lines[file] = self._texts.get(file, "").split("\n")
        return self._lines[file]

    def at(self, row: Rule | Link | ReachRule, field: int, rule: RuleId, message: str) -> LintFinding:
        """A finding about a field of a row, by index of the field; 0 for the row's type."""
        return LintFinding(row.file, row.line, column(self.lines(row.file)[row.line - 1], field), rule, message)

    def entries(self, file: str, *keys: str) -> Iterator[tuple[Scalar, Node]]:
        """The keys, with positions, and values of the mapping under `keys` in a YAML file; none if it is absent."""
        node = self._node(file, keys)
        if isinstance(node, YamlMapping):
            yield from node.items.values()

    def items(self, file: str, *keys: str) -> Iterator[Scalar]:
        """The texts of the list under `keys` in a YAML file."""
        node = self._node(file, keys)
        if isinstance(node, Sequence):
            yield from (item for item in node.items if isinstance(item, Scalar))

    def _node(self, file: str, keys: Iterable[str]) -> Node | None:
        if file not in self._documents:
            text = self._texts.get(file)
            self._documents[file] = parse_yaml(file, text, Diagnostics()) if text is not None else None
        node: Node | None = self._documents[file]
        for key in keys:
            node = node.items[key][1] if isinstance(node, YamlMapping) and key in node.items else None
        return node
