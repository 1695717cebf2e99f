"""The rights of callers, by a real server over mutual TLS whose `_callers` is edited."""

import json
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import grpc
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.certificates import Authority, credentials_of
from support.server import DEADLINE_S, Server, remit_process, until

from remit.client import Asked, Client, DecisionUnavailable
from remit.v1 import audit_service_pb2, audit_service_pb2_grpc
from remit.v1 import policy_service_pb2 as policy
from remit.v1 import policy_service_pb2_grpc as policy_grpc
from remit.v1 import status_service_pb2 as status

SHOP, ONCALL, AUDITOR = "shop.example", "oncall.example", "audit.example"
BOB = ("user:bob", "VIEW", "FLOW", "acme.finance")
RIGHTS = f"p, service:dns/{SHOP}, _callers, acme, REMIT, CHECK|WATCH|STATUS|AUDIT, allow\n"
EVERYTHING = f"p, service:dns/{SHOP}, _callers, **, REMIT, *, allow\n"


class House:
    """A server, its policies, and callers with certificates."""

    def __init__(self, server: Server, policies: Path, authority: Authority) -> None:
        self.server = server
        self.policies = policies
        self._authority = authority
        self._numbers = iter(range(1_000))

    def client(self, name: str) -> Client:
        return Client(self.server.target, timeout_s=DEADLINE_S, tls=self._tls(name))

    def channel(self, name: str) -> grpc.Channel:
        return grpc.secure_channel(self.server.target, credentials_of(self._tls(name)))

    def context(self, name: str) -> ssl.SSLContext:
        """For HTTPS, with a certificate of that name."""
        context = ssl.create_default_context(cafile=self._authority.certificate)
        context.load_cert_chain(*self._authority.signed(f"{name}-{next(self._numbers)}", name))
        return context

    def callers(self, rows: str) -> None:
        """Writes the rights, and waits until they are in force."""
        (self.policies / "_callers" / "bindings.csv").write_text(rows)
        with self.client(ONCALL) as client:
            before = self._callers(client).revision
            until(lambda: self._callers(client).files_revision != before, "the rights are read")

    def _callers(self, client: Client) -> status.TenantStatus:
        (found,) = client.status("_callers").tenants
        return found

    def _tls(self, name: str) -> Any:
        return self._authority.caller(self._authority.signed(f"{name}-{next(self._numbers)}", name))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture
def house(tmp_path: Path, untested: Path, authority: Authority) -> Iterator[House]:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    shutil.rmtree(policies / "_callers", ignore_errors=True)
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text(RIGHTS)
    flags = authority.server_flags(*authority.signed("server", "127.0.0.1"))
    flags += ("--operators", ONCALL, "--auditors", AUDITOR)
    with Server(tmp_path / "audit", *flags, policies=policies) as server:
        yield House(server, policies, authority)


def refused(ask: Callable[[], object]) -> str:
    with pytest.raises(DecisionUnavailable) as caught:
        ask()
    return f"{caught.value.code}: {caught.value.message}"


def test_right_that_is_taken_away_ends_open_streams(house: House) -> None:
    with house.channel(SHOP) as channel:
        watching = policy_grpc.PolicyServiceStub(channel)
        streams = {
            "one": watching.WatchRevision(policy.WatchRevisionRequest(tenant="acme")),
            "all": watching.WatchRevision(policy.WatchRevisionRequest()),
            "records": audit_service_pb2_grpc.AuditServiceStub(channel).FollowRecords(
                audit_service_pb2.FollowRecordsRequest(filter=audit_service_pb2.RecordFilter(tenant="acme"))
            ),
        }
        health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="tenant/acme"))
        assert health_pb2.HealthCheckResponse.SERVING == next(health).status
        first = {name: next(stream) for name, stream in streams.items()}
        assert "acme" == first["one"].tenant == first["all"].tenant
        house.callers(f"p, service:dns/{SHOP}, _callers, acme, REMIT, CHECK, allow\n")
        for name, stream in streams.items():
            with pytest.raises(grpc.RpcError) as ended:
                for _ in stream:
                    pass
            assert grpc.StatusCode.PERMISSION_DENIED == ended.value.code(), name
        with pytest.raises(StopIteration):
            next(health)


def test_all_watch_tells_of_tenants_with_the_right_alone(house: House) -> None:
    with house.channel(SHOP) as channel:
        stream = policy_grpc.PolicyServiceStub(channel).WatchRevision(policy.WatchRevisionRequest())
        assert "acme" == next(stream).tenant
        house.callers(EVERYTHING)
        assert "globex" == next(stream).tenant
        stream.cancel()


def test_lists_across_tenants_are_filtered(house: House) -> None:
    with house.client(SHOP) as client:
        told = client.status()
        assert ["acme"] == [each.tenant for each in told.tenants]
        assert not told.HasField("audit")
        assert 0 == told.certificate_expires_us
        assert [] == [*told.limits_hit]
        assert "" == told.tree_revision
    with house.client(ONCALL) as client:
        told = client.status()
        assert {"acme", "globex", "_instance", "_callers"} == {each.tenant for each in told.tenants}
        assert told.certificate_expires_us


def test_rights_that_do_not_load_leave_the_last_ones_in_force(house: House) -> None:
    with house.client(SHOP) as client:
        assert client.tenant("acme").check(*BOB).allowed
        house.callers("no row\n")
        assert client.tenant("acme").check(*BOB).allowed
        assert refused(lambda: client.tenant("globex").check(*BOB)).startswith("PERMISSION_DENIED")
    with house.client(ONCALL) as client:
        (told,) = client.status("_callers").tenants
    assert status.TENANT_STATE_STALE == told.state


def test_rights_whose_folder_is_gone_open_nothing_and_take_nothing_away(house: House) -> None:
    shutil.rmtree(house.policies / "_callers")
    with house.client(ONCALL) as oncall, house.client(SHOP) as shop:
        stale = status.TENANT_STATE_STALE
        until(lambda: stale == oncall.status("_callers").tenants[0].state, "the folder's end is noticed")
        assert shop.tenant("acme").check(*BOB).allowed
        assert refused(lambda: shop.tenant("globex").check(*BOB)).startswith("PERMISSION_DENIED")


def test_rights_cannot_be_pinned(house: House) -> None:
    with house.client(ONCALL) as client:
        (told,) = client.status("_callers").tenants
        pin = policy.PinRevisionRequest(tenant="_callers", revision=told.revision)
        assert "FAILED_PRECONDITION: `_callers` cannot be pinned" in refused(lambda: client.ask(pin))


def test_break_glass_works_without_a_row(house: House) -> None:
    with house.client(ONCALL) as client:
        (told,) = client.status("acme").tenants
        client.ask(policy.PinRevisionRequest(tenant="acme", revision=told.revision))
        client.ask(policy.UnpinRevisionRequest(tenant="acme"))
        assert refused(lambda: client.tenant("acme").check(*BOB)).startswith("PERMISSION_DENIED")
    with house.client(AUDITOR) as client:
        list(client.list_records())


def test_refused_calls_are_recorded_with_their_number(house: House) -> None:
    with house.client(SHOP) as client:
        for tenant in ("globex", "globex", *(f"invented{number}" for number in range(50))):
            assert refused(lambda tenant=tenant: client.tenant(tenant).check(*BOB)).startswith("PERMISSION_DENIED")
    assert 0 == house.server.terminate()
    with house.server.store() as store:
        records = store.lifecycle(type_="CALL_REFUSED")
        assert [] == store.decisions(limit=10)
    told = {record.tenant: json.loads(record.detail) for record in records}
    refusal = {"caller": f"service:dns/{SHOP}", "method": "Check", "action": "CHECK"}
    assert {"globex": {**refusal, "calls": 2}, "": {**refusal, "calls": 50}} == told


def test_metrics_need_the_right_across_tenants(house: House) -> None:
    url = f"https://127.0.0.1:{house.server.metrics_port}/metrics"

    def scrape(name: str) -> bytes:
        context = house.context(name)
        with urllib.request.urlopen(url, timeout=DEADLINE_S, context=context) as answer:
            return bytes(answer.read())

    assert b'tenant="globex"' in scrape(ONCALL)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        scrape(SHOP)
    house.callers(RIGHTS + f"p, service:dns/{SHOP}, _callers, **, REMIT_INSTANCE, STATUS, allow\n")
    assert b'tenant="globex"' in scrape(SHOP)


def test_violations_are_told_behind_the_right_alone(house: House) -> None:
    malformed = ("nobody", "VIEW", "FLOW", "")
    with house.client(SHOP) as client:
        assert "principal" in refused(lambda: client.tenant("acme").check(*malformed))
        assert refused(lambda: client.tenant("globex").check(*malformed)).startswith("PERMISSION_DENIED")


def test_rights_may_be_exchanged_during_batches(house: House) -> None:
    """Each call has its rights from one policy: it is answered whole or refused whole."""
    outcomes: set[str] = set()
    stopping = False

    def ask() -> None:
        with house.client(SHOP) as client:
            while not stopping:
                try:
                    answers = client.tenant("acme").batch_check([Asked(*BOB)] * 50)
                    outcomes.add(f"{len(answers)} answers")
                except DecisionUnavailable as error:
                    outcomes.add(error.code)

    thread = Thread(target=ask)
    thread.start()
    for number in range(4):
        house.callers(RIGHTS if number % 2 else "p, service:nobody, _callers, acme, REMIT, CHECK, allow\n")
    stopping = True
    thread.join()
    assert {"50 answers", "PERMISSION_DENIED"} == outcomes


def test_server_that_others_reach_does_not_start_without_rights(
    tmp_path: Path, untested: Path, authority: Authority
) -> None:
    policies = Path(shutil.copytree(untested, tmp_path / "policies"))
    shutil.rmtree(policies / "_callers", ignore_errors=True)
    flags = authority.server_flags(*authority.signed("open", "127.0.0.1"))
    audit = ("--audit", f"sqlite:///{tmp_path}/audit.db", "--revisions", "", "--metrics", "")
    serve = ("serve", "--policies", str(policies), *audit, *flags)
    done = remit_process(*serve, "--listen", "0.0.0.0:0")
    assert 3 == done.returncode
    assert "`remit callers init` writes this one" in done.stderr
    assert "role:enforcer" in done.stderr
    assert not (tmp_path / "audit.db").exists()
    (policies / "_callers").mkdir()
    (policies / "_callers" / "bindings.csv").write_text("no row\n")
    done = remit_process(*serve, "--listen", "127.0.0.1:0")
    assert 3 == done.returncode
    assert "`_callers`, which says what callers may ask, does not load" in done.stderr
    assert "_callers/bindings.csv:1:1" in done.stderr
