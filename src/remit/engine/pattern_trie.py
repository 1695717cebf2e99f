from collections.abc import Callable, Iterable, Iterator, Sequence

from remit.core.names import Namespace
from remit.core.patterns import NamespacePattern


class _Node:
    """A node: the pattern that ends here, the subtree pattern that begins here, and the nodes below by segment."""

    __slots__ = ("below", "exact", "subtree")

    def __init__(self) -> None:
        self.exact: str | None = None
        self.subtree: str | None = None
        self.below: dict[str, _Node] | None = None

    def copy(self) -> "_Node":
        node = _Node()
        node.exact, node.subtree = self.exact, self.subtree
        node.below = dict(self.below) if self.below is not None else None
        return node


class PatternTrie:
    """Finds the patterns that cover a namespace, in time that depends on its depth, not on the number of patterns."""

    def __init__(self, patterns: Iterable[NamespacePattern] = ()) -> None:
        self._root = _Node()
        for pattern in patterns:
            self.add(pattern)

    def add(self, pattern: NamespacePattern) -> None:
        node = self._root
        for segment in pattern.segments:
            if node.below is None:
                node.below = {}
            node = node.below.get(segment) or node.below.setdefault(segment, _Node())
        _end(node, pattern)

    def plus(self, patterns: Iterable[NamespacePattern]) -> "PatternTrie":
        """A trie with more patterns, which shares with this one every node that no new pattern passes."""
        trie = PatternTrie()
        trie._root = self._root
        for pattern in patterns:
            node = trie._root = trie._root.copy()
            for segment in pattern.segments:
                if node.below is None:
                    node.below = {}
                inner = node.below.get(segment)
                copied = node.below[segment] = inner.copy() if inner is not None else _Node()
                node = copied
            _end(node, pattern)
        return trie

    def __contains__(self, pattern: NamespacePattern) -> bool:
        node: _Node | None = self._root
        for segment in pattern.segments:
            if node is None or node.below is None:
                return False
            node = node.below.get(segment)
        return node is not None and (node.subtree if pattern.subtree else node.exact) is not None

    def covers(self, namespace: Namespace) -> bool:
        """True if any pattern covers `namespace`."""
        node = self._root
        if node.subtree is not None:
            return True
        nodes: Sequence[_Node] = (node,)
        for segment in namespace.split(".") if namespace else ():
            below = []
            for node in nodes:
                if node.below is not None:
                    for inner in (node.below.get(segment), node.below.get("*")):
                        if inner is not None:
                            if inner.subtree is not None:
                                return True
                            below.append(inner)
            if not below:
                return False
            nodes = below
        return any(node.exact is not None for node in nodes)

    def of(self, namespace: Namespace) -> frozenset[str]:
        """The texts of the patterns that cover `namespace`."""
        return self._over(namespace.split(".") if namespace else (), below=False)

    def of_pattern(self, pattern: NamespacePattern) -> frozenset[str]:
        """The texts of the patterns that cover all of `pattern`."""
        return self._over(pattern.segments, below=pattern.subtree)

    def overlapping(
        self, pattern: NamespacePattern, spend: Callable[[int], object] = lambda _steps: None
    ) -> Iterator[str]:
        """The texts of the patterns that share a namespace of any length with `pattern`.

        Calls `spend` with the number of steps before taking them; `spend` may raise.
        """
        nodes = [self._root]
        for segment in pattern.segments:
            spend(len(nodes))
            yield from (node.subtree for node in nodes if node.subtree is not None)
            below = [node.below for node in nodes if node.below is not None]
            if segment == "*":
                nodes = [inner for each in below for inner in each.values()]
            else:
                nodes = [each[its] for each in below for its in (segment, "*") if its in each]
        while nodes:
            spend(len(nodes))
            for node in nodes:
                yield from (text for text in (node.exact, node.subtree) if text is not None)
            nodes = [inner for node in nodes if node.below for inner in node.below.values()] if pattern.subtree else []

    def _over(self, segments: Sequence[str], *, below: bool) -> frozenset[str]:
        """The patterns over these segments; with `below`, over everything under them too. Only `*` covers `*`."""
        nodes = [self._root]
        covering = [self._root.subtree]
        for segment in segments:
            nodes = [
                inner
                for node in nodes
                if node.below
                for inner in (node.below.get(segment), node.below.get("*") if segment != "*" else None)
                if inner is not None
            ]
            covering += [node.subtree for node in nodes]
        if not below:
            covering += [node.exact for node in nodes]
        return frozenset(text for text in covering if text is not None)


def _end(node: _Node, pattern: NamespacePattern) -> None:
    if pattern.subtree:
        node.subtree = pattern.text
    else:
        node.exact = pattern.text
