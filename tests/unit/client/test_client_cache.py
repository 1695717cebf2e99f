from remit.client.decision_cache import DecisionCache
from remit.v1.access_service_pb2 import CheckRequest, CheckResponse, Question
from remit.v1.policy_service_pb2 import WatchRevisionResponse

ASKED = CheckRequest(tenant="acme", question=Question(principal="user:bob"))
OLD, NEW = CheckResponse(revision="old"), CheckResponse(revision="new")


def told(revision: str, tenant: str = "acme") -> WatchRevisionResponse:
    return WatchRevisionResponse(tenant=tenant, revision=revision, removed=not revision)


def watched() -> DecisionCache:
    cache = DecisionCache(2)
    cache.changed(told("old"))
    cache.put(ASKED, OLD)
    return cache


def test_cache_is_empty_before_the_watch_begins() -> None:
    cache = DecisionCache(2)
    cache.put(ASKED, OLD)
    cache.changed(told("old"))
    assert cache.get(ASKED) is None


def test_cache_drops_answers_of_an_unknown_revision() -> None:
    cache = watched()
    assert OLD is cache.get(ASKED)
    cache.put(ASKED, NEW)
    assert cache.get(ASKED) is None
    cache.changed(told("new"))
    assert cache.get(ASKED) is None
    cache.put(ASKED, NEW)
    assert NEW is cache.get(ASKED)


def test_change_drops_only_cached_answers_of_its_tenant() -> None:
    cache = watched()
    other = CheckRequest(tenant="globex")
    cache.changed(told("old", "globex"))
    cache.put(other, OLD)
    cache.changed(told("new"))
    cache.changed(told("old"))
    assert (None, OLD) == (cache.get(ASKED), cache.get(other))


def test_cache_is_not_used_for_a_tenant_that_is_removed_or_has_no_revision() -> None:
    cache = watched()
    cache.changed(told(""))
    assert cache.get(ASKED) is None


def test_cached_answers_serve_again_once_the_watch_confirms_them() -> None:
    cache = watched()
    cache.unwatched()
    assert cache.get(ASKED) is None
    cache.changed(told("old"))
    assert OLD is cache.get(ASKED)


def test_cache_drops_the_least_recently_used_answer() -> None:
    cache = watched()
    second, third = (CheckRequest(tenant="acme", revision=each) for each in ("2", "3"))
    cache.put(second, OLD)
    cache.get(ASKED)
    cache.put(third, OLD)
    assert [OLD, None, OLD] == [cache.get(each) for each in (ASKED, second, third)]


def test_cached_answer_serves_only_questions_that_ask_for_its_position_or_an_older_one() -> None:
    def at(seq: int, digest: str = "0") -> CheckRequest:
        return CheckRequest(tenant=ASKED.tenant, question=ASKED.question, at_least=f"acme:{seq}:{digest * 16}")

    cache = DecisionCache(2)
    cache.changed(told("old"))
    answer = CheckResponse(revision="old", position=f"acme:2:{'0' * 16}")
    cache.put(at(2), answer)
    assert [answer] * 3 == [cache.get(each) for each in (ASKED, at(1), at(2))]
    assert [None] * 3 == [cache.get(each) for each in (at(3), at(2, "1"), at(0))]
    cache.put(ASKED, OLD)
    assert (OLD, None) == (cache.get(ASKED), cache.get(at(1)))
