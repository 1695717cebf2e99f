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


def test_nothing_is_kept_before_a_watch_has_told() -> None:
    cache = DecisionCache(2)
    cache.put(ASKED, OLD)
    cache.changed(told("old"))
    assert cache.get(ASKED) is None


def test_an_answer_of_a_revision_that_the_watch_has_not_told_ends_what_was_kept_until_it_tells() -> None:
    cache = watched()
    assert OLD is cache.get(ASKED)
    cache.put(ASKED, NEW)
    assert cache.get(ASKED) is None
    cache.changed(told("new"))
    assert cache.get(ASKED) is None
    cache.put(ASKED, NEW)
    assert NEW is cache.get(ASKED)


def test_a_change_drops_its_tenants_answers_alone() -> None:
    cache = watched()
    other = CheckRequest(tenant="globex")
    cache.changed(told("old", "globex"))
    cache.put(other, OLD)
    cache.changed(told("new"))
    cache.changed(told("old"))
    assert (None, OLD) == (cache.get(ASKED), cache.get(other))


def test_a_tenant_that_is_removed_or_has_no_revision_is_asked() -> None:
    cache = watched()
    cache.changed(told(""))
    assert cache.get(ASKED) is None


def test_what_a_watch_vouched_for_is_served_again_once_it_vouches_again() -> None:
    cache = watched()
    cache.unwatched()
    assert cache.get(ASKED) is None
    cache.changed(told("old"))
    assert OLD is cache.get(ASKED)


def test_the_least_recently_used_goes_first() -> None:
    cache = watched()
    second, third = (CheckRequest(tenant="acme", revision=each) for each in ("2", "3"))
    cache.put(second, OLD)
    cache.get(ASKED)
    cache.put(third, OLD)
    assert [OLD, None, OLD] == [cache.get(each) for each in (ASKED, second, third)]
