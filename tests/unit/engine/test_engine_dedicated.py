import pytest
from support.trees import snapshot_of

from remit.core.errors import MalformedQuestionError
from remit.core.names import Namespace, Word
from remit.core.policy import ResourceType
from remit.engine.inquiry import TooLargeError
from remit.engine.queries.dedicated import DedicatedTo, ServedBy, resolve

FILES = {
    "vocabulary.yaml": b"kinds: {FLOW: {class: namespace, actions: [VIEW]}}\nservices: [WEBSERVER, WORKER]\n",
    "resources.yaml": b"""\
storage: {tenants-own: {tenants: [acme], type: s3, config: {bucket: b, nested: {depth: [1, NO]}}}}
secrets: {finance: {tenants: [acme], read_only: true, denied_services: [WEBSERVER]}, eu: {tenants: [acme, globex]}}
worker_group: {payroll: {tenants: [acme], fallback: fail}}
""",
    "acme/tenant.yaml": b"""\
dedicated: {storage: tenants-own}
namespaces:
  a.finance: {dedicated: {secrets: finance}}
  a.finance.eu: {dedicated: {secrets: eu, worker_group: payroll}}
  a.finance.eu.x: {}
""",
    "globex/tenant.yaml": b"{}\n",
}


@pytest.mark.parametrize(
    ("namespace", "resource", "expected"),
    [
        ("a.finance", ResourceType.SECRETS, ("finance", "a.finance")),
        ("a.finance.us.deep", ResourceType.SECRETS, ("finance", "a.finance")),
        ("a.finance.eu", ResourceType.SECRETS, ("eu", "a.finance.eu")),
        ("a.finance.eu.x.y", ResourceType.SECRETS, ("eu", "a.finance.eu")),
        ("a.finance.eu", ResourceType.STORAGE, ("tenants-own", "")),
        ("a.finance.eu", ResourceType.WORKER_GROUP, ("payroll", "a.finance.eu")),
        ("a.finance", ResourceType.WORKER_GROUP, None),
        ("a.finance2", ResourceType.SECRETS, None),
        ("a", ResourceType.SECRETS, None),
        ("finance", ResourceType.SECRETS, None),
        ("", ResourceType.STORAGE, ("tenants-own", "")),
        ("", ResourceType.SECRETS, None),
    ],
)
def test_the_nearest_level_that_names_one_serves(
    namespace: str, resource: ResourceType, expected: tuple[str, str] | None
) -> None:
    """Going up by whole segments, then the tenant, then none; each type by itself."""
    found = resolve(snapshot_of(FILES, "acme").policy, Namespace(namespace), resource)
    assert expected == (found and (found.resource.name, found.level))


def test_no_resource_serves_a_tenant_that_names_none() -> None:
    policy = snapshot_of(FILES, "globex").policy
    assert not [each for each in ResourceType if resolve(policy, Namespace("a.finance.eu"), each)]


def test_settings_of_a_resource_are_resolved_with_their_types() -> None:
    """Settings under `config` are free-form texts; the other keys have their types."""
    policy = snapshot_of(FILES, "acme").policy
    storage = resolve(policy, Namespace(""), ResourceType.STORAGE)
    secrets = resolve(policy, Namespace("a.finance"), ResourceType.SECRETS)
    workers = resolve(policy, Namespace("a.finance.eu"), ResourceType.WORKER_GROUP)
    assert storage is not None
    assert secrets is not None
    assert workers is not None
    expected = {"bucket": "b", "nested": {"depth": ["1", "NO"]}}
    assert expected == storage.resource.config
    assert storage.resource.type == "s3"
    assert not storage.resource.read_only
    assert secrets.resource.read_only
    assert secrets.resource.denied_services == {"WEBSERVER"}
    assert workers.resource.fallback == "fail"


def test_answer_says_whether_a_service_may_touch_a_resource() -> None:
    """Only where there is something: of what serves by default, remit knows nothing."""
    snapshot = snapshot_of(FILES, "acme")

    def told(namespace: str, service: str) -> list[str | None]:
        return [each.service for each in DedicatedTo(Namespace(namespace), (), Word(service)).answer(snapshot)]

    assert ["allow", "deny", None] == told("a.finance", "WEBSERVER")
    assert ["allow", "allow", None] == told("a.finance", "WORKER")
    assert [None, None, None] == told("a.finance", "")


def test_only_the_types_asked_for_are_resolved_in_that_order() -> None:
    types = (ResourceType.WORKER_GROUP, ResourceType.STORAGE)
    answer = DedicatedTo(Namespace("a.finance.eu"), types).answer(snapshot_of(FILES, "acme"))
    assert [("worker_group", "payroll"), ("storage", "tenants-own")] == [
        (each.resource_type, each.resolution and each.resolution.resource.name) for each in answer
    ]


@pytest.mark.parametrize("service", ["WEBSEVER", "webserver"])
def test_undeclared_service_is_refused(service: str) -> None:
    """It is on no list of those denied: as an answer it would be an allow."""
    with pytest.raises(MalformedQuestionError, match=r"service: .* declares no .* it declares `WEBSERVER`"):
        DedicatedTo(Namespace("a.finance"), (), Word(service)).answer(snapshot_of(FILES, "acme"))


def test_the_instance_has_no_namespaces() -> None:
    snapshot = snapshot_of({**FILES, "_instance/tenant.yaml": b"{}\n"}, "_instance")
    assert 3 == len(DedicatedTo().answer(snapshot))
    with pytest.raises(MalformedQuestionError, match="namespace: `a` is superfluous"):
        DedicatedTo(Namespace("a")).answer(snapshot)


SERVED = {
    **FILES,
    "_instance/tenant.yaml": b"{}\n",
    "acme/tenant.yaml": b"""\
dedicated: {secrets: eu}
namespaces:
  a: {dedicated: {secrets: finance}}
  a.b: {dedicated: {secrets: eu}}
  a.b.c: {dedicated: {secrets: eu}}
  a.b.c.d: {dedicated: {secrets: finance}}
  a.b2: {dedicated: {storage: tenants-own}}
""",
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("eu", (["** except a.**", "a.b.** except a.b.c.d.**"], True)),
        ("finance", (["a.** except a.b.**", "a.b.c.d.**"], False)),
        ("tenants-own", ([], False)),
        ("nobody", ([], False)),
    ],
)
def test_served_lists_the_namespaces_of_a_resource(name: str, expected: tuple[list[str], bool]) -> None:
    """Each level's subtree without nearer levels that name another; what names the same again changes nothing."""
    served = ServedBy(ResourceType.SECRETS, name).answer(snapshot_of(SERVED, "acme"))
    assert expected == ([str(each) for each in served.namespaces], served.whole_tenant)
    assert () == served.tenants


def test_resource_that_is_not_open_is_answered_like_an_unknown_one() -> None:
    """Answer and record for another tenant's resource equal those for an unknown one, except for the name."""
    snapshot = snapshot_of(SERVED, "globex")
    asked = [ServedBy(ResourceType.SECRETS, name) for name in ("finance", "nobody!")]
    theirs, none = (each.answer(snapshot) for each in asked)
    assert theirs == none
    told = [str(each.detail(theirs)).replace(each.name, "") for each in asked]
    assert told[0] == told[1]


def test_instance_lists_the_open_tenants() -> None:
    snapshot = snapshot_of(SERVED, "_instance")
    tenants = {name: ServedBy(ResourceType.SECRETS, name).answer(snapshot).tenants for name in ("eu", "finance", "no")}
    assert {"eu": ("acme", "globex"), "finance": ("acme",), "no": ()} == tenants


def test_a_list_that_would_be_too_long_is_an_error() -> None:
    levels = "".join(f"  n{number}: {{dedicated: {{secrets: finance}}}}\n" for number in range(10_001))
    files = {**FILES, "acme/tenant.yaml": f"namespaces:\n{levels}".encode()}
    with pytest.raises(TooLargeError, match="more than 10000 patterns"):
        ServedBy(ResourceType.SECRETS, "finance").answer(snapshot_of(files, "acme"))
