import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.core.names import Tenant
from remit.fleet.change import genesis, linked
from remit.fleet.errors import ForgedReleaseError
from remit.fleet.release import Release

DIGEST = "0123456789abcdef" * 4
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
FIRST = Release(1, "", DIGEST, {Tenant("acme"): DIGEST}, 5, "ci")


@given(
    st.integers(2, 10**9),
    digests,
    digests,
    st.dictionaries(st.sampled_from([Tenant(each) for each in ("acme", "globex", "_callers", "_instance")]), digests),
    st.text(),
    st.text(),
)
def test_a_release_is_what_its_text_says(
    seq: int, previous: str, root: str, tenants: dict[Tenant, str], publisher: str, message: str
) -> None:
    release = Release(seq, previous, root, tenants, 7, publisher, message)

    assert release == Release.parse(release.text)
    assert release.hash != Release(seq + 1, previous, root, tenants, 7, publisher, message).hash


@pytest.mark.parametrize(
    "change",
    [
        {"seq": 0},
        {"seq": True},
        {"seq": 2},
        {"seq": "1"},
        {"previous": DIGEST},
        {"previous": "ab"},
        {"root": "ab"},
        {"root": DIGEST.upper()},
        {"root": 5},
        {"tenants": {"A/B": DIGEST}},
        {"tenants": {"../x": DIGEST}},
        {"tenants": {"acme": None}},
        {"tenants": []},
        {"publisher": None},
        {"more": 1},
    ],
)
def test_a_malformed_release_is_refused(change: dict[str, Any]) -> None:
    members = json.loads(FIRST.text)
    text = json.dumps(members | change, sort_keys=True, separators=(",", ":"))

    with pytest.raises(ForgedReleaseError, match="a release is malformed"):
        Release.parse(text)
    for each in members:
        with pytest.raises(ForgedReleaseError, match="a release is malformed"):
            Release.parse(json.dumps({name: value for name, value in members.items() if name != each}))


@pytest.mark.parametrize("text", ["", "[]", "{", FIRST.text + " ", FIRST.text.replace(",", ", "), "\ud800"])
def test_only_the_canonical_text_is_a_release(text: str) -> None:
    with pytest.raises(ForgedReleaseError, match="a release is malformed"):
        Release.parse(text)


def test_each_field_of_a_change_is_in_its_hash() -> None:
    head = genesis(Tenant("acme"))
    change = linked(head, Tenant("acme"), 5, "RELEASE", "ci", "{}")
    others = [
        linked(genesis(Tenant("globex")), Tenant("acme"), 5, "RELEASE", "ci", "{}"),
        linked(change.head, Tenant("acme"), 5, "RELEASE", "ci", "{}"),
        linked(head, Tenant("globex"), 5, "RELEASE", "ci", "{}"),
        linked(head, Tenant("acme"), 6, "RELEASE", "ci", "{}"),
        linked(head, Tenant("acme"), 5, "REMOVED", "ci", "{}"),
        linked(head, Tenant("acme"), 5, "RELEASE", "cj", "{}"),
        linked(head, Tenant("acme"), 5, "RELEASE", "ci", '{"a":1}'),
        linked(head, Tenant("acme"), 5, "RELEASE", "ci\n{}", ""),
    ]

    assert change.follows(head)
    assert not change.follows(change.head)
    assert len(others) + 1 == len({change.hash, *(each.hash for each in others)})
