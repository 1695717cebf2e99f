"""A client that was made before a fork works in the children and in the parent."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from support.server import DEADLINE_S, Server, environment, free_port, until

SCRIPT = Path(__file__).parents[1] / "support" / "forking.py"
ALLOWED = "ALLOWED_BY_RULE"
SERVICE = """
import os
from remit.client import Client

acme = Client(os.environ["TARGET"], timeout_s=20.0, cache=10).tenant("acme")
ASKED = ("user:bob", "VIEW", "FLOW", "acme.finance")
before = acme.check(*ASKED).reason


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {before} {acme.check(*ASKED).reason}".encode()]
"""


def forked(kind: str, server: Server, **extra: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), kind, server.target],
        env=environment(extra),
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * DEADLINE_S,
    )
    assert not done.returncode, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "unused",
        "used",
        "new in the child",
        "other threads ask",
        "a thread follows",
        "cached",
        "multiprocessing",
        "asyncio, unused",
        "asyncio, closed",
    ],
)
def test_client_works_on_both_sides_of_a_fork(kind: str, server: Server) -> None:
    assert {"children": [ALLOWED] * 12, "parent": ALLOWED} == forked(kind, server)


@pytest.mark.parametrize(
    ("kind", "switch"), [("asyncio, open", {}), ("used", {"GRPC_ENABLE_FORK_SUPPORT": "0"})], ids=["asyncio", "switch"]
)
def test_child_in_which_grpc_would_hang_is_refused_at_once(kind: str, switch: dict[str, str], server: Server) -> None:
    found = forked(kind, server, **switch)

    assert ALLOWED == found["parent"]
    (refusal,) = {*found["children"]}  # type: ignore[misc]
    assert refusal.startswith("UNAVAILABLE: this process was forked while gRPC was in use")
    assert "close each AsyncClient" in refusal
    assert "GRPC_ENABLE_FORK_SUPPORT unset" in refusal


def test_gunicorn_preloads_a_client_for_its_workers(server: Server, tmp_path: Path) -> None:
    """The client asks at import already, with a cache, and the workers ask through it."""
    (tmp_path / "service.py").write_text(SERVICE)
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2", "--bind", address, "service:app"]
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment({"TARGET": server.target}), stdout=output, stderr=output
        ) as gunicorn,
    ):
        try:
            answers: dict[str, str] = {}

            def both_answer() -> bool:
                try:
                    answer = httpx.get(f"http://{address}/", timeout=DEADLINE_S, trust_env=False)
                except httpx.ConnectError:
                    assert gunicorn.poll() is None, log.read_text()
                    return False
                pid, _, reasons = answer.raise_for_status().text.partition(" ")
                answers[pid] = reasons
                return len(answers) == 2

            until(both_answer, "an answer of each worker")
        finally:
            os.kill(gunicorn.pid, signal.SIGTERM)
    assert [f"{ALLOWED} {ALLOWED}"] * 2 == list(answers.values())
    assert str(gunicorn.pid) not in answers
    assert 0 == gunicorn.returncode, log.read_text()
