"""Law 10 for `remit fmt`: what files say is the same before and after, and formatting twice is formatting once."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from strategies import World, randoms, worlds
from support.trees import tree_of
from worldly import tenants

from remit.core.names import Tenant
from remit.core.policy import Policy
from remit.policy.format import format_file
from remit.policy.load import load_root, read_policy
from remit.policy.read.report import Diagnostics
from remit.policy.read.yaml import parse_yaml, plain

COMMENTS = (
    "#",
    "# p, subject, tenant, namespaces, kind, actions, effect",
    "#a, b,c ",
    "#  g, member, holds,scope",
    "# é",
)

# A header, and lines that hold blanks, blank lines, comments' look-alikes and indentation.
block_texts = st.tuples(
    st.sampled_from(("|", "|+", "|-", ">", ">+", ">-")),
    st.lists(st.sampled_from(("", "  x", "  x  ", "    y", "  # z ", "   ")), max_size=5),
).map(lambda drawn: "\n".join((drawn[0], "  first", *drawn[1])))
quoted = st.lists(st.sampled_from(("x", "", "  y  ", " # z")), min_size=1, max_size=4).map(
    lambda lines: '"' + "\n ".join(lines) + '"'
)
values = st.one_of(st.sampled_from(("x", "[a, b]", "{a: b}  ", "x\n\n\n", "x   # note  ")), block_texts, quoted)
documents = st.tuples(st.lists(values, min_size=1, max_size=4), st.sampled_from(("", "\n", "\n\n\n", "\n  \n"))).map(
    lambda drawn: "\n".join(f"key{number}: {value}" for number, value in enumerate(drawn[0])) + drawn[1]
)


def formatted(file: str, content: bytes) -> bytes:
    report = Diagnostics()
    result = format_file(file, content, report)
    assert result is not None, report.diagnostics
    return result


def untidy(random: Random, content: bytes) -> bytes:
    """The same with blanks, comments and blank lines between, and CRLF or no line end at the end."""
    lines = []
    for line in content.decode().splitlines():
        if random.randrange(3) == 0:
            lines += [random.choice((*COMMENTS, "", "", "   "))]
        blanks = [" " * random.randrange(3) for _ in range(3)]
        lines.append(f"{blanks[0]}{line.replace(', ', f'{blanks[1]},{blanks[2]}')}{blanks[2]}")
    end = random.choice(("\n", "\r\n"))
    return (end.join(lines) + random.choice(("", end, end * 3))).encode()


def meaning(policy: Policy) -> object:
    rows = [row.fields for row in (*policy.rules, *policy.links, *policy.reach)]
    return rows, policy.vocabulary, policy.access, policy.dedicated


@given(worlds, randoms)
def test_parse_after_format_is_identity(world: World, random: Random) -> None:
    files = {
        file: untidy(random, content) if file.endswith(".csv") else content for file, content in world.files.items()
    }
    after = {file: formatted(file, content) for file, content in files.items()}

    assert after == {file: formatted(file, content) for file, content in after.items()}
    for tenant in tenants(world):
        policies = [read_policy(tree, Tenant(tenant), load_root(tree)) for tree in (tree_of(files), tree_of(after))]
        assert meaning(policies[0]) == meaning(policies[1])


@given(documents)
def test_parse_after_format_is_identity_in_yaml(document: str) -> None:
    before = parse_yaml("x.yaml", document, Diagnostics())
    if before is None:
        return
    after = formatted("x.yaml", document.encode())

    again = parse_yaml("x.yaml", after.decode(), Diagnostics())
    assert again is not None
    assert plain(before) == plain(again)
    assert after == formatted("x.yaml", after)


@given(worlds, randoms)
def test_fmt_keeps_comments_and_the_order_of_lines(world: World, random: Random) -> None:
    for file, content in world.files.items():
        if file.endswith(".csv"):
            before = untidy(random, content)
            lines = [line.replace(" ", "") for line in before.decode().splitlines() if line.strip()]
            assert lines == [line.replace(" ", "") for line in formatted(file, before).decode().splitlines() if line]
