"""Every call of the server, by what its caller has to do with the tenant that it asks about.

REMIT_WRITE_GOLDEN=1 writes tests/golden/rights.md anew.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import grpc
import pytest
import trustme
from google.protobuf.json_format import ParseDict
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from support.certificates import Authority
from support.server import DEADLINE_S, Server, until

from remit.client import Client
from remit.rpc.rights import DEMANDS
from remit.v1 import (
    access_service_pb2,
    audit_service_pb2,
    binding_service_pb2,
    policy_service_pb2,
    reach_service_pb2,
    resource_service_pb2,
    search_service_pb2,
    status_service_pb2,
    visibility_service_pb2,
)

GOLDEN: Final = Path(__file__).parents[1] / "golden" / "rights.md"
SHOP, ROOT, STRANGER = "shop.example", "root.example", "stranger.example"
OWN, OTHER, UNKNOWN, BROKEN, REMOVED = "acme", "globex", "nowhere", "initech", "hooli"
RELATIONS: Final = {
    "own": OWN,
    "other": OTHER,
    "unknown": UNKNOWN,
    "broken": BROKEN,
    "removed": REMOVED,
    "`_instance`": "_instance",
    "`_callers`": "_callers",
    "ill-formed": "No Such",
    "none": "",
}
FORBIDDEN: Final = (OTHER, UNKNOWN, BROKEN, REMOVED, "_instance", "_callers")
RIGHTS: Final = f"""
p, service:dns/{SHOP}, _callers, {OWN}, REMIT, *, allow
p, service:dns/{ROOT}, _callers, **, REMIT_INSTANCE, *, allow
p, service:dns/{ROOT}, _callers, **, REMIT, *, allow
"""
_MODULES: Final = (
    access_service_pb2,
    reach_service_pb2,
    search_service_pb2,
    resource_service_pb2,
    visibility_service_pb2,
    status_service_pb2,
    policy_service_pb2,
    binding_service_pb2,
    audit_service_pb2,
    health_pb2,
)
METHODS: Final = {
    f"{service.name}/{method.name}": method
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if method.name != "List"  # of the health service: not implemented
}
_BOB: Final[Mapping[str, str]] = {
    "principal": "user:bob",
    "action": "VIEW",
    "kind": "FLOW",
    "namespace": "acme.finance",
}
_CALL: Final = {"caller": "acme.finance", "owner": "acme.shared", "relation": "CALL_SUBFLOW"}
_WHAT: Final = {"action": "VIEW", "kind": "FLOW"}
_NODE: Final = {"uid": "a", "kind": "FLOW", "namespace": "acme.finance", "id": "close"}
REQUESTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "AccessService/Check": {"question": _BOB},
    "AccessService/BatchCheck": {"questions": [_BOB]},
    "AccessService/CheckOperation": {"principal": "user:bob", "operation": "import_flows", "namespace": "acme.x"},
    "AccessService/Explain": {"question": _BOB},
    "ReachService/CheckReach": {"question": _CALL},
    "ReachService/BatchCheckReach": {"questions": [_CALL]},
    "ReachService/CheckReachAll": {"caller": "acme.finance", "relation": "CALL_SUBFLOW", "owners": ["acme.shared"]},
    "ReachService/ExplainReach": {"question": _CALL},
    "ReachService/ListReachable": {"namespace": "acme.finance", "among": ["acme.shared"]},
    "SearchService/ListActions": {"principal": "user:bob"},
    "SearchService/ListNamespaces": {"principal": "user:bob"},
    "SearchService/ListPrincipals": {**_WHAT, "namespace": "acme.finance"},
    "SearchService/ListMatrix": {"principals": {}, "actions": ["VIEW"]},
    "SearchService/ListHeld": {"principal": "user:bob"},
    "SearchService/PlanFilter": {"principal": "user:bob", **_WHAT},
    "ResourceService/ListServed": {"resource": "RESOURCE_TYPE_STORAGE", "name": "s3-eu"},
    "VisibilityService/VisibleGraph": {"principal": "user:bob", "action": "VIEW", "nodes": [_NODE]},
    "PolicyService/ListNames": {"what": "NAME_TYPE_ROLE"},
    "PolicyService/PinRevision": {"revision": "00000000"},
    "BindingService/ChangeBindings": {"grants": [{"member": "user:bob", "holds": "role:viewer"}]},
    "AuditService/ExplainPast": {"access": _BOB, "time_us": "1"},
}


class Answer(NamedTuple):
    code: str
    details: str
    trailers: tuple[Any, ...]


class Door:
    """A caller, and its calls of any method about any tenant."""

    def __init__(self, server: Server, authority: Authority, name: str, decisions: Mapping[str, str]) -> None:
        self.name = name
        self._channel = grpc.secure_channel(
            server.target, authority.credentials(authority.signed(f"table-{name}", name))
        )
        self._decisions = decisions

    def close(self) -> None:
        self._channel.close()

    def ask(self, name: str, tenant: str) -> Answer:
        method = METHODS[name]
        request = ParseDict(REQUESTS.get(name, {}), GetMessageClass(method.input_type)())
        if name == "AuditService/GetRecord":
            request.id = self._decisions.get(tenant, "0" * 8 + "-0000-7000-8000-" + "0" * 12)
        elif name.startswith("Health/"):
            request.service = f"tenant/{tenant}"
        elif "start" in method.input_type.fields_by_name:
            request.start.tenant = tenant
        elif "filter" in method.input_type.fields_by_name:
            request.filter.tenant = tenant
        else:
            request.tenant = tenant
        path = f"/{method.containing_service.full_name}/{method.name}"
        codecs = type(request).SerializeToString, GetMessageClass(method.output_type).FromString
        try:
            if method.server_streaming:
                answers = self._channel.unary_stream(path, *codecs)(request, timeout=DEADLINE_S)
                first = next(answers)
                answers.cancel()
                if name.startswith("Health/"):
                    return Answer(health_pb2.HealthCheckResponse.ServingStatus.Name(first.status), "", ())
            elif method.client_streaming:
                self._channel.stream_unary(path, *codecs)(iter([request]), timeout=DEADLINE_S)
            else:
                self._channel.unary_unary(path, *codecs)(request, timeout=DEADLINE_S)
        except grpc.RpcError as error:
            trailers = tuple(error.trailing_metadata() or ())
            return Answer(error.code().name, error.details() or "", trailers)
        return Answer("OK", "", ())


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, untested: Path, authority: Authority) -> Iterator[Server]:
    """With one tenant that does not load, and one whose folder is gone."""
    folder = tmp_path_factory.mktemp("relations")
    policies = Path(shutil.copytree(untested, folder / "policies"))
    shutil.rmtree(policies / "_callers", ignore_errors=True)
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text(RIGHTS)
    (policies / BROKEN).mkdir()
    (policies / BROKEN / "bindings.csv").write_text("no row\n")
    (policies / REMOVED).mkdir()
    (policies / REMOVED / "bindings.csv").write_text("g, user:bob, role:x, hooli\n")
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    with Server(folder / "audit", *flags, policies=policies) as started:
        with Client(started.target, timeout_s=DEADLINE_S, tls=authority.caller(authority.signed("r", ROOT))) as client:
            assert REMOVED in {each.tenant for each in client.status().tenants}
            shutil.rmtree(policies / REMOVED)
            until(lambda: REMOVED not in {each.tenant for each in client.status().tenants}, "the tenant is removed")
        yield started


@pytest.fixture(scope="module")
def decisions(server: Server, authority: Authority) -> dict[str, str]:
    """The id of a decision in each tenant that decides."""
    tls = authority.caller(authority.signed("decides", ROOT))
    with Client(server.target, timeout_s=DEADLINE_S, tls=tls) as client:
        asked = access_service_pb2.Question(**_BOB)
        requests = {
            name: access_service_pb2.CheckRequest(tenant=name, question=asked) for name in (OWN, OTHER, UNKNOWN)
        }
        return {name: client.ask(request).decision.decision_id for name, request in requests.items()}


@pytest.fixture
def doors(server: Server, authority: Authority, decisions: dict[str, str]) -> Iterator[list[Door]]:
    doors = [Door(server, authority, name, decisions) for name in (SHOP, ROOT, STRANGER)]
    yield doors
    for door in doors:
        door.close()


def test_every_method_has_its_requests_and_its_right() -> None:
    # `test_envoy` asks Authorization/Check: a server answers it only if told so, and never with a status.
    others = {"Health/List", "ServerReflection/ServerReflectionInfo", "Authorization/Check"}
    assert METHODS.keys() | others == DEMANDS.keys()


def test_every_call_by_its_callers_relation_to_the_tenant(doors: list[Door]) -> None:
    """The shop has every right about its own tenant, root about all, the stranger none."""
    head = ["caller", "call", *RELATIONS]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for door in doors:
        for name in METHODS:
            codes = [door.ask(name, tenant).code for tenant in RELATIONS.values()]
            lines.append(f"| {door.name.partition('.')[0]} | {name} | " + " | ".join(codes) + " |")
    table = "\n".join(lines) + "\n"
    if os.environ.get("REMIT_WRITE_GOLDEN"):
        GOLDEN.write_text(table)
    assert GOLDEN.read_text() == table


def test_forbidden_tenants_are_not_told_apart(doors: list[Door]) -> None:
    """The same code, text and trailers, whatever the tenant is: but for its name, which the caller sent."""
    shop, _, stranger = doors
    for name in METHODS:
        for door, tenants in ((shop, FORBIDDEN), (stranger, (OWN, *FORBIDDEN))):
            answers = {tenant: door.ask(name, tenant) for tenant in tenants}
            told = {answer._replace(details=answer.details.replace(tenant, "T")) for tenant, answer in answers.items()}
            if name == "AuditService/GetRecord":
                told = {answer._replace(details="") for answer in told}
            assert 1 == len(told), (door.name, name, answers)
