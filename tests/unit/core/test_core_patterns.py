import pytest

from remit.core.names import NAMESPACE_LIMIT, Namespace
from remit.core.patterns import NamespacePattern, subtree_of


@pytest.mark.parametrize("length", [1, 147, 148, 149, 150])
def test_a_subtree_is_written_in_legal_patterns(length: int) -> None:
    """However long its root is: itself and what fits below it, and nothing beside it."""
    root = "n" * length
    patterns = subtree_of(Namespace(root))

    def within(name: str) -> bool:
        return any(pattern.contains(Namespace(name)) for pattern in patterns)

    below = [f"{root}.{name}" for name in ("a", "ab", "a.b") if length + 1 + len(name) <= NAMESPACE_LIMIT]
    assert all(len(pattern.text) <= NAMESPACE_LIMIT for pattern in patterns)
    assert [True] * (1 + len(below)) == [within(each) for each in (root, *below)]
    assert not within(f"{root[:-1]}x")


def test_the_subtree_of_the_tenant_is_all_of_it() -> None:
    assert ["**"] == [pattern.text for pattern in subtree_of(Namespace(""))]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a" * 100 + ".*", "*." + "b" * 100, False),
        ("a" * 75 + ".*", "*." + "b" * 74, True),
        ("a" * 75 + ".*", "*." + "b" * 75, False),
        ("a" * 75 + ".*.**", "*." + "b" * 75 + ".**", False),
        ("a" * 100 + ".**", "*." + "b" * 49, True),
        ("a" * 100 + ".**", "*." + "b" * 50, False),
    ],
    ids=range(6),
)
def test_patterns_overlap_only_where_a_namespace_is_short_enough(one: str, other: str, expected: bool) -> None:
    """A namespace has at most 150 characters: what is in both sets only past them is in neither."""
    first, second = NamespacePattern.parse(one), NamespacePattern.parse(other)
    assert [expected] * 2 == [first.overlaps(second), second.overlaps(first)]
    assert expected == (first.intersection(second) is not None)
