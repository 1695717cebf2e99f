import pytest
from trees import snapshot_of

from remit.core.names import Namespace
from remit.core.policy import ResourceType
from remit.engine.dedicated import resolve

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


def test_nothing_serves_a_tenant_that_names_nothing() -> None:
    policy = snapshot_of(FILES, "globex").policy
    assert not [each for each in ResourceType if resolve(policy, Namespace("a.finance.eu"), each)]


def test_what_a_resource_says_is_kept() -> None:
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
