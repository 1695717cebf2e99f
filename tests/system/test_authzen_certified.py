"""`python -m tests.tools.authzen_conform` and remit's own server with TLS: every level, every credential."""

import json
import shutil
import ssl
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
import trustme
from support.authzen import ALICE, EVALUATION, FIXTURE, READ, RECORD
from support.certificates import Authority
from support.server import DEADLINE_S, Server, free_port, remit, tool, until

TOKEN = "a-token-of-the-conformance-runner"
SUBJECTS = {"subject": {"type": "user"}, "action": READ, "resource": RECORD}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), trustme.CA())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("conform")


@pytest.fixture(scope="module")
def server(folder: Path, authority: Authority) -> Iterator[Server]:
    """It takes certificates and tokens."""
    policies = Path(shutil.copytree(FIXTURE, folder / "policies"))
    remit("callers", "init", str(policies))
    bindings = policies / "_callers" / "bindings.csv"
    bindings.write_text(
        "g, service:full, role:enforcer, _callers\ng, service:full, role:reader, _callers\n"
        "g, service:dns/caller, role:enforcer, _callers\ng, service:dns/caller, role:reader, _callers\n"
        "g, service:half, role:enforcer, _callers/acme\n"
    )
    shutil.rmtree(policies / "_callers" / "tests")
    (folder / "token").write_text(TOKEN)
    rows = [
        {"as": name, "token": [{"sha256": sha256(token.encode()).hexdigest()}]}
        for name, token in (("service:full", TOKEN), ("service:half", f"{TOKEN}-2"))
    ]
    (folder / "identities.yaml").write_text(json.dumps({"callers": rows}))
    cert, key = authority.signed("server", "127.0.0.1")
    flags = (*authority.server_flags(cert, key), "--identities", str(folder / "identities.yaml"))
    # The identifier is where the runner finds the server: so its port must be known before.
    port = free_port()
    flags += ("--authzen", "--authzen-tenant", "acme", "--authzen-base-url", f"https://127.0.0.1:{port}")
    with Server(folder / "audit", *flags, policies=policies, http=f"127.0.0.1:{port}") as started:
        yield started


def test_every_level_passes_with_a_token(server: Server, authority: Authority, folder: Path) -> None:
    url = f"https://127.0.0.1:{server.http_port}"
    levels = [word for level in ("basic", "batch", "search", "discovery") for word in ("--level", level)]
    common = ("--support", "properties", "--tls-server-ca", str(authority.certificate))
    token = ("--token-file", str(folder / "token"))
    done = tool("authzen_conform", url, *levels, "--discover", *common, *token)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "132 passed, 0 warned, 1 excepted, 0 skipped, 0 failed" in done.stdout


def test_every_level_passes_for_a_tenant_with_a_certificate(server: Server, authority: Authority) -> None:
    """The TLS layer asks for a certificate and needs none: without one the answer is 401."""
    cert, key = authority.signed("caller", "caller")
    url = f"https://127.0.0.1:{server.http_port}"
    shown = ("--tls-cert", str(cert), "--tls-key", str(key), "--tls-server-ca", str(authority.certificate))
    levels = [word for level in ("basic", "batch", "search", "discovery") for word in ("--level", level)]
    done = tool("authzen_conform", url, "--tenant", "acme", *levels, "--support", "properties", *shown)

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "131 passed, 0 warned, 1 excepted, 1 skipped, 0 failed" in done.stdout


def test_the_caller_of_the_credential_is_recorded_and_its_rights_count(server: Server, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    base = f"https://127.0.0.1:{server.http_port}"
    with httpx.Client(base_url=base, verify=context, timeout=DEADLINE_S) as http:

        def status(path: str, body: object, token: str) -> int:
            headers = {"Authorization": f"Bearer {token}", "X-Request-ID": "rights"}
            answered = http.post(f"/tenants/{path}", json=body, headers=headers)
            assert "rights" == answered.headers["x-request-id"]
            return answered.status_code

        half = f"{TOKEN}-2"
        statuses = [
            status("acme/access/v1/evaluation", EVALUATION, half),
            status("acme/access/v1/evaluations", {**EVALUATION, "evaluations": [{}]}, half),
            status("acme/access/v1/search/subject", SUBJECTS, half),
            status("acme/access/v1/search/resource", {**SUBJECTS, "subject": ALICE}, half),
            status("acme/access/v1/search/action", {"subject": ALICE, "resource": RECORD}, half),
            status("globex/access/v1/evaluation", EVALUATION, half),
            status("acme/access/v1/evaluation", EVALUATION, "wrong"),
        ]
    with server.store() as store:
        callers = {each.caller for each in store.decisions(limit=5)}

    assert [200, 200, 403, 200, 200, 403, 401] == statuses
    assert "service:half" in callers


def test_a_worker_reads_the_page_token_of_another(folder: Path) -> None:
    """Each connection may come to another worker."""
    flags = ("--workers", "2", "--authzen", "--authzen-tenant", "acme")
    body = {**SUBJECTS, "page": {"limit": 1}}
    with Server(folder / "workers", *flags, policies=FIXTURE, http="127.0.0.1:0") as started:
        url = f"http://127.0.0.1:{started.http_port}/access/v1/search/subject"
        token = httpx.post(url, json=body, timeout=DEADLINE_S).json()["page"]["next_token"]
        second = {**SUBJECTS, "page": {"token": token}}
        statuses = [httpx.post(url, json=second, timeout=DEADLINE_S).status_code for _ in range(20)]
        with started.store() as store:
            nodes = {each.node for each in store.decisions(limit=21)}

    assert [200] * 20 == statuses
    assert 2 == len(nodes)


def test_an_edit_between_two_pages_is_no_error(folder: Path) -> None:
    """The next page goes on behind the last result, under the policy of now."""
    policies = Path(shutil.copytree(FIXTURE, folder / "edited"))
    shutil.rmtree(policies / "acme" / "tests")
    flags = ("--authzen", "--authzen-tenant", "acme")
    with Server(folder / "edit", *flags, policies=policies, http="127.0.0.1:0") as started:
        url = f"http://127.0.0.1:{started.http_port}/access/v1/search/subject"
        first = httpx.post(url, json={**SUBJECTS, "page": {"limit": 1}}, timeout=DEADLINE_S).json()
        token = first["page"]["next_token"]
        roles = policies / "acme" / "roles.csv"
        roles.write_text(roles.read_text().replace("user:bob", "user:zoe"))

        def rest() -> list[str]:
            answered = httpx.post(url, json={**SUBJECTS, "page": {"token": token}}, timeout=DEADLINE_S)
            assert 200 == answered.status_code
            return [each["id"] for each in answered.json()["results"]]

        until(lambda: rest() == ["zoe"], "the edit serves")

    assert ["alice"] == [each["id"] for each in first["results"]]


def test_no_answered_decision_is_lost_when_the_server_is_killed(folder: Path) -> None:
    with Server(folder / "killed", "--authzen", policies=FIXTURE, http="127.0.0.1:0") as started:
        url = f"http://127.0.0.1:{started.http_port}/tenants/acme/access/v1/evaluation"
        with httpx.Client(timeout=DEADLINE_S) as http:
            answered = [http.post(url, json=EVALUATION).headers["remit-decision-id"] for _ in range(50)]
        started.kill()
        with started.store() as store:
            recorded = {each.id.hex() for each in store.decisions(limit=100)}

    assert {each.replace("-", "") for each in answered} <= recorded
