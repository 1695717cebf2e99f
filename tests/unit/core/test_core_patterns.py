import pytest

from remit.core.names import NAMESPACE_LIMIT, Namespace
from remit.core.patterns import subtree_of


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
