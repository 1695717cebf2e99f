"""A server on a name is on each of its addresses."""

import urllib.request
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from support.questions import check
from support.server import DEADLINE_S, Server, access_of


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_server_on_localhost_answers_on_both_addresses(
    serve: Callable[..., Server], untested: Path, workers: tuple[str, ...]
) -> None:
    server = serve("--metrics", "localhost:0", *workers, listen="localhost:0", policies=untested)
    for host in ("127.0.0.1", "[::1]"):
        with grpc.insecure_channel(f"{host}:{server.port}") as channel:
            assert access_of(channel).Check(check(), timeout=DEADLINE_S).decision.decision_id
        with urllib.request.urlopen(f"http://{host}:{server.metrics_port}/metrics", timeout=DEADLINE_S) as answer:
            assert b"remit_audit_healthy" in answer.read()
