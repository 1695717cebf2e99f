"""From the entities of an AuthZEN request to the names of a question (policy-language section 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit.core.authzen import (
    NO_MAPPING,
    ActionByProperty,
    AuthzenMapping,
    Catalogue,
    Entities,
    NamespaceTemplate,
    TypeMapping,
    UnknownResourceError,
    question_of,
    segment_of,
)
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.core.names import Namespace, Word, is_namespace
from remit.core.vocabulary import Kind, KindClass, Vocabulary

VOCABULARY = Vocabulary(
    {
        Word(name): Kind(Word(name), kind_class, frozenset({Word("VIEW"), Word("EDIT")}))
        for name, kind_class in [
            ("RECORD", KindClass.NAMESPACE),
            ("NAMESPACE", KindClass.NAMESPACE),
            ("BOARD", KindClass.TENANT),
        ]
    }
)
READS = Entities("user", "alice", "VIEW", {}, "RECORD", "r1", {"namespace": "a.b"})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLACES = "{resource.properties.a}.x.{resource.properties.b}.{resource.id}"


@given(TEXTS, TEXTS)
def test_two_texts_never_have_the_same_segment(one: str, two: str) -> None:
    assert (one == two) == (segment_of(one) == segment_of(two))


@given(TEXTS)
def test_a_segment_is_one_segment_of_a_namespace(text: str) -> None:
    assert "." not in segment_of(text)
    assert is_namespace(segment_of(text)[:140])


@pytest.mark.parametrize(
    ("text", "segment"),
    {
        "active": "active",
        "record-1": "record-1",
        "in_review": "in_5freview",
        "a.b": "a_2eb",
        "A": "0___41",
        "-a": "0__-a",
        "": "0__",
        "0__": "0_5f_5f",
        "rick@the-citadel.com": "rick_40the-citadel_2ecom",
    }.items(),
)
def test_segments_are_as_the_policy_language_says(text: str, segment: str) -> None:
    assert segment == segment_of(text)


@given(st.tuples(TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS))
def test_different_values_never_fill_a_template_alike(one: tuple[str, str, str], two: tuple[str, str, str]) -> None:
    template = NamespaceTemplate.parse(PLACES)
    filled = [
        template.fill(Entities(resource_id=last, resource_properties={"a": first, "b": second}))
        for first, second, last in (one, two)
    ]

    assert (one == two) == (filled[0] == filled[1])


@given(st.lists(st.from_regex(r"[a-z]{1,3}(\.[a-z]{1,3})?", fullmatch=True), min_size=4, max_size=4))
def test_one_whole_namespace_in_a_template_stays_unambiguous(names: list[str]) -> None:
    template = NamespaceTemplate.parse("{+resource.properties.a}.{resource.id}")
    first, second = (
        template.fill(Entities(resource_id=names[at + 1], resource_properties={"a": names[at]})) for at in (0, 2)
    )

    assert (names[:2] == names[2:]) == (first == second)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "a.",
        "A",
        "a b",
        "a{resource.id}",
        "{resource.id",
        "{resource.id}}",
        "{resource}",
        "{resource.properties.}",
        "{subject.properties.department}",
        "{action.name}",
        "{+resource.id}.{+resource.properties.a}",
        "a." * 130 + "a",
    ],
)
def test_templates_outside_the_grammar_are_refused(text: str) -> None:
    with pytest.raises(InvalidNameError, match="template"):
        NamespaceTemplate.parse(text)


def test_a_template_that_names_a_subject_says_why_not() -> None:
    with pytest.raises(InvalidNameError, match="what a request says of its subject counts for nothing"):
        NamespaceTemplate.parse("{subject.id}")


def test_without_a_mapping_the_names_are_the_requests_own() -> None:
    assert ("user:alice", "VIEW", "RECORD", "a.b") == question_of(READS, NO_MAPPING, VOCABULARY)


def test_a_namespace_is_its_own_resource() -> None:
    asked = READS._replace(resource_type="NAMESPACE", resource_id="a.b", resource_properties={"namespace": "x"})

    assert ("user:alice", "VIEW", "NAMESPACE", "a.b") == question_of(asked, NO_MAPPING, VOCABULARY)


def test_a_kind_of_the_tenant_needs_no_namespace() -> None:
    asked = READS._replace(resource_type="BOARD", resource_properties={})

    assert "" == question_of(asked, NO_MAPPING, VOCABULARY).namespace


MAPPING = AuthzenMapping(
    subjects={"identity": "user"},
    actions={"can_read": Word("VIEW")},
    types={
        "record": TypeMapping(
            "RECORD",
            NamespaceTemplate.parse("{resource.properties.status}"),
            actions={"change": ActionByProperty("really", {"true": Word("EDIT"), "3": Word("VIEW")})},
        ),
        "known": TypeMapping("RECORD", from_catalogue=True),
    },
    catalogue={Word("RECORD"): Catalogue({"r1": Namespace("c.d"), "r0": Namespace("c")})},
)
MAPPED = Entities("identity", "a@b", "can_read", {}, "record", "r1", {"status": "in use"})


def test_aliases_and_templates_are_filled_in() -> None:
    assert ("user:a@b", "VIEW", "RECORD", "in_20use") == question_of(MAPPED, MAPPING, VOCABULARY)


@pytest.mark.parametrize(("really", "action"), [(True, "EDIT"), ("true", "EDIT"), (3, "VIEW")])
def test_a_property_becomes_part_of_the_action(really: object, action: str) -> None:
    asked = MAPPED._replace(action_name="change", action_properties={"really": really})

    assert action == question_of(asked, MAPPING, VOCABULARY).action


@pytest.mark.parametrize("properties", [{}, {"status": None}])
def test_the_catalogue_counts_if_the_request_lacks_a_property(properties: dict[str, object]) -> None:
    assert "c.d" == question_of(MAPPED._replace(resource_properties=properties), MAPPING, VOCABULARY).namespace


def test_a_type_of_the_catalogue_believes_no_request() -> None:
    asked = MAPPED._replace(resource_type="known", resource_properties={"namespace": "elsewhere", "status": "x"})

    assert "c.d" == question_of(asked, MAPPING, VOCABULARY).namespace


def test_no_property_of_a_subject_is_part_of_a_question() -> None:
    """Entities have no room for one."""
    assert [] == [name for name in Entities._fields if name.startswith("subject") and name.endswith("properties")]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"resource_properties": {"status": 1.5}}, "resource.properties.status"),
        ({"resource_properties": {"status": ["a"]}}, "resource.properties.status"),
        ({"action_name": "change"}, "action.properties.really"),
        ({"action_name": "change", "action_properties": {"really": "no"}}, "action.properties.really"),
        ({"action_name": "not a word"}, "action.name"),
        ({"subject_type": "group"}, "subject.type"),
        ({"subject_type": "role"}, "subject.type"),
        ({"subject_type": "a:b"}, "subject.type"),
        ({"subject_type": "spaceship"}, "subject.type"),
        ({"subject_id": "a b"}, "subject"),
        ({"resource_type": "no kind"}, "resource.type"),
        ({"resource_type": "RECORD", "resource_properties": {"namespace": "A"}}, "resource.properties.namespace"),
        ({"resource_type": "NAMESPACE", "resource_id": "A"}, "resource.id"),
        ({"resource_properties": {"status": "x" * 200}}, "resource"),
        ({"resource_id": "r" * 513}, "resource.id"),
    ],
)
def test_a_request_that_is_no_question_names_the_wrong_member(change: dict[str, object], field: str) -> None:
    with pytest.raises(MalformedQuestionError) as refused:
        question_of(MAPPED._replace(**change), MAPPING, VOCABULARY)  # type: ignore[arg-type]

    assert [field] == [each.field for each in refused.value.violations]


def test_a_missing_namespace_names_what_is_missing() -> None:
    with pytest.raises(MalformedQuestionError, match=r"resource\.properties\.namespace: is missing"):
        question_of(READS._replace(resource_properties={}), NO_MAPPING, VOCABULARY)


def test_a_resource_that_the_catalogue_does_not_have_is_unknown() -> None:
    with pytest.raises(UnknownResourceError, match="the catalogue has no RECORD `r9`"):
        question_of(MAPPED._replace(resource_type="known", resource_id="r9"), MAPPING, VOCABULARY)


def test_action_names_lead_back_to_the_requests_words() -> None:
    every = (Word("VIEW"), Word("EDIT"))

    assert ["EDIT", "VIEW", "can_read", "change"] == MAPPING.action_names("record", every)
    assert ["EDIT", "change"] == MAPPING.action_names("record", (Word("EDIT"),))
    assert ["VIEW", "can_read"] == MAPPING.action_names("RECORD", (Word("VIEW"),))


def test_ids_behind_one_are_sorted() -> None:
    catalogue = MAPPING.catalogue[Word("RECORD")]

    assert ["r0", "r1"] == [*catalogue.after(None)]
    assert ["r1"] == [*catalogue.after("r0")]
    assert ["r1"] == [*catalogue.after("r00")]
    assert [] == [*catalogue.after("r1")]
