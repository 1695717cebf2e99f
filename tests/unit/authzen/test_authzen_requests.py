"""Requests as values: the quick way to parse them gives what the long way gives, or leaves it to the long way."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remit.authzen import requests
from remit.authzen.requests import SentRequest, evaluation, evaluations
from remit.core.errors import MalformedQuestionError
from remit.rpc.errors import MalformedMessageError

TEXTS = st.sampled_from(["", "a", "type", "é", 'with "quotes"', "\\", "\ud83d\ude00", "a:b"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def entity(*members: str) -> Any:
    wrong = st.sampled_from([None, 5, [], {}])
    return st.fixed_dictionaries(
        {name: st.text("ab", max_size=2) for name in members},
        optional={"properties": st.dictionaries(TEXTS, VALUES, max_size=3), "other": VALUES},
    ) | st.fixed_dictionaries(dict.fromkeys(members, wrong))


ENTITIES = {"subject": entity("type", "id"), "action": entity("name"), "resource": entity("type", "id")}
OPTIONAL = {"context": st.dictionaries(TEXTS, VALUES, max_size=2) | st.none(), "other": VALUES}
EVALUATION = st.fixed_dictionaries(ENTITIES, optional=OPTIONAL)
BATCH = st.fixed_dictionaries(
    {"evaluations": st.lists(st.fixed_dictionaries({}, optional={**ENTITIES, **OPTIONAL}) | VALUES, max_size=3)},
    optional={
        **ENTITIES,
        **OPTIONAL,
        "options": st.fixed_dictionaries(
            {},
            optional={"evaluations_semantic": st.sampled_from(["deny_on_first_deny", "x", 5, None]), "other": VALUES},
        ),
    },
)
QUIETLY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def outcome(parse: Any, body: bytes) -> Any:
    try:
        # Two errors with one text are not equal.
        return repr(parse(SentRequest("acme", body)))
    except (MalformedMessageError, MalformedQuestionError) as error:
        return type(error), str(error)


def text_of(value: Any, twice: str) -> bytes:
    """The request as JSON; with `twice`, one member stands twice, so that no parser may choose."""
    text = json.dumps(value, ensure_ascii=False)
    return (f"{{{twice}, {text[1:]}" if twice else text).encode("utf-8", "surrogatepass")


@QUIETLY
@given(
    EVALUATION | BATCH,
    st.sampled_from(["", '"subject": {"type": "user", "id": "x"}', '"context": {}', '"evaluations": []']),
)
def test_the_quick_way_agrees_with_the_long_way(value: Any, twice: str) -> None:
    body = text_of(value, twice)
    for parse in (evaluation, evaluations(100)):
        found = outcome(parse, body)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests, "_quickly", lambda _: None)
            patch.setattr(requests, "_items_quickly", lambda *_: None)
            assert outcome(parse, body) == found, body


@pytest.mark.parametrize("place", ["", "subject", "properties", "item"])
def test_a_member_that_stands_twice_is_refused_wherever_it_stands(place: str) -> None:
    twice = '"type": "user", "type": "user", "id": "alice"'
    subject = f"{{{twice}}}" if place == "subject" else '{"type": "user", "id": "alice"}'
    properties = '{"a": 1, "a": 1}' if place == "properties" else "{}"
    item = '{"action": {"name": "read"}, "action": {"name": "read"}}' if place == "item" else "{}"
    more = ', "action": {"name": "read"}' if place == "" else ""
    body = (
        f'{{"subject": {subject}, "action": {{"name": "read"}}{more}, '
        f'"resource": {{"type": "t", "id": "r", "properties": {properties}}}, "evaluations": [{item}]}}'
    )

    assert (MalformedMessageError, "the body is no JSON object: a member occurs twice") == outcome(
        evaluations(100), body.encode()
    )


def test_usual_requests_go_the_quick_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("the long way")

    monkeypatch.setattr(requests, "_object", refuse)
    single = {
        "subject": {"type": "user", "id": "alice", "properties": {"role": ["a", {"b": "c"}]}},
        "action": {"name": "read", "properties": {"soft": True}},
        "resource": {"type": "record", "id": "r", "properties": {"namespace": "a.b", "n": 5}},
        "context": {"time": "now", "remit": {"on_behalf_of": "user:eve"}},
    }
    batch = {
        **single,
        "evaluations": [{}, {"action": {"name": "write"}}],
        "options": {"evaluations_semantic": "execute_all"},
    }

    assert "user:eve" == evaluation(SentRequest("acme", json.dumps(single).encode())).origin.on_behalf_of
    assert 2 == len(evaluations(100)(SentRequest("acme", json.dumps(batch).encode())).questions)
