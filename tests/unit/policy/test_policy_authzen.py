"""authzen.yaml, catalogue.csv and `authzen:` cases of a tenant: what loads, and what is refused where."""

import pytest
from support.trees import load

BASE = {
    "vocabulary.yaml": b"""\
kinds:
  RECORD: {class: namespace, actions: [VIEW, EDIT]}
  BOARD: {class: tenant, actions: [VIEW, PIN]}
  PLACE: {class: instance, actions: [VIEW]}
""",
    "acme/bindings.csv": b"p, user:alice, acme, a.**, RECORD, VIEW, allow\n",
}
CASE = "name: x\nauthzen:\n  - {subject: {type: user, id: alice}, action: {name: read}, resource: %s, expect: %s}\n"
RECORD = "{type: record, id: r, properties: {team: a}}"
MAPPING = 'actions: {read: VIEW}\ntypes: {record: {kind: RECORD, namespace: "{resource.properties.team}.x"}}\n'


def diagnostics(file: str, text: str, **more: str) -> list[str]:
    files = {**BASE, f"acme/{file}": text.encode(), **{f"acme/{name}": each.encode() for name, each in more.items()}}
    return [str(each) for each in load(files, "acme").diagnostics]


def test_a_mapping_a_catalogue_and_cases_load() -> None:
    files = {
        **BASE,
        "acme/authzen.yaml": MAPPING.encode(),
        "acme/catalogue.csv": b"RECORD, r, a.b\nBOARD, wall,\n",
        "acme/tests/x.yaml": (CASE % (RECORD, "allow")).encode(),
    }
    loaded = load(files, "acme")

    assert () == loaded.diagnostics
    assert ["user alice read record r, which is user:alice VIEW RECORD in a.x"] == [each.asked for each in loaded.cases]
    assert 3 == loaded.rows + len(loaded.snapshot.policy.authzen.catalogue)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "subject: {}": "1:1: unknown key `subject` in the mapping: expected `subjects`, `actions`, `types`",
        "subjects: {team: group}": "1:18: `group` is not a principal: expected one of `user`, `service`",
        "actions: {read: VEW}": "1:17: `VEW` is not an action that the vocabulary declares here",
        "actions: {read: {property: a}}": "1:17: an action lacks `values`",
        "actions: {read: {property: a, values: {x: NO}}}": "1:43: `NO` is not an action that the vocabulary",
        "types: {record: {kind: RECRD}}": "1:24: `RECRD` is no kind of this tenant that the vocabulary declares; did",
        "types: {record: {}}": "1:17: `record` is no kind of this tenant that the vocabulary declares",
        "types: {p: {kind: PLACE}}": "1:19: `PLACE` is no kind of this tenant",
        "types: {b: {kind: BOARD, namespace: a}}": "1:37: kind `BOARD` lives in no namespace",
        "types: {r: {kind: RECORD, actions: {x: PIN}}}": "1:40: `PIN` is not an action that the vocabulary declares",
        'types: {r: {kind: RECORD, namespace: "{subject.id}"}}': "1:38: `{subject.id}` in a template: expected",
        "types: {r: {kind: RECORD, namespace: A}}": "1:38: `A` is no template: expected segments",
        "types: {r: {kind: RECORD, extra: A}}": "1:27: unknown key `extra` in type `r`",
    }.items(),
)
def test_a_wrong_mapping_is_refused_at_its_place(text: str, expected: str) -> None:
    (found,) = diagnostics("authzen.yaml", text)

    assert found.startswith(f"acme/authzen.yaml:{expected}")


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "RECORD, r": "1:1: 2 fields: expected 3, as `kind, id, namespace`",
        "RECRD, r, a": "1:1: `RECRD` is no kind of this tenant that the vocabulary declares; did you mean `RECORD`?",
        "RECORD, , a": "1:9: expected an id of 1 to 512 printable characters",
        "RECORD, r, A": "1:12: `A` is not a namespace",
        "RECORD, r,": "1:11: namespace is missing",
        "BOARD, b, a": "1:11: kind `BOARD` lives in no namespace: leave the field empty",
        "RECORD, r, a\nRECORD, r, b": "2:9: RECORD `r` stands twice: expected one row a resource",
    }.items(),
)
def test_a_wrong_catalogue_is_refused_at_its_place(text: str, expected: str) -> None:
    (found,) = diagnostics("catalogue.csv", text)

    assert found.startswith(f"acme/catalogue.csv:{expected}")


@pytest.mark.parametrize(
    ("resource", "effect", "expected"),
    [
        (
            RECORD,
            "deny",
            "3:5: user alice read record r, which is user:alice VIEW RECORD in a.x: expected deny, got allow",
        ),
        ("{type: record, id: r}", "deny", "3:5: the request is malformed, and nothing is decided: resource.properties"),
        (
            f"{{type: record, id: {'r' * 513}, properties: {{team: a}}}}",
            "allow",
            "3:5: the request is malformed, and nothing is decided: resource.id: expected at most 512 printable",
        ),
        ("{type: recrd, id: r}", "deny", "3:72: unknown kind `recrd`: if that is what is tested, say `reason:"),
        ("{type: record}", "deny", "3:72: `resource` lacks `id`"),
    ],
)
def test_a_wrong_case_is_refused_at_its_place(resource: str, effect: str, expected: str) -> None:
    (found,) = diagnostics("tests/x.yaml", CASE % (resource, effect), **{"authzen.yaml": MAPPING})

    assert found.startswith(f"acme/tests/x.yaml:{expected}")


def test_the_rows_of_a_catalogue_count_against_the_limit_of_a_folder() -> None:
    from remit.policy.read.limits import Limits  # noqa: PLC0415

    rows = "".join(f"RECORD, r{number}, a\n" for number in range(5)).encode()

    assert "more than 5 rows" in str(load({**BASE, "acme/catalogue.csv": rows}, "acme", Limits(rows=5)).diagnostics[0])


def test_a_change_of_the_mapping_is_another_revision() -> None:
    revisions = {
        load({**BASE, **more}, "acme").revision
        for more in ({}, {"acme/authzen.yaml": MAPPING.encode()}, {"acme/catalogue.csv": b"RECORD, r, a\n"})
    }

    assert 3 == len(revisions)
