"""The API over HTTP by clients that are not ours: the JavaScript clients of Connect, each with each of its protocols."""

import json
import subprocess
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from grpc_tools import protoc
from support.server import DEADLINE_S, Server

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "tests" / "javascript"
INSTALLS_WITHIN_S = 240


@pytest.fixture(scope="module")
def descriptors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The descriptors of the protos, of the health service and of the details of errors."""
    folder = tmp_path_factory.mktemp("descriptors")
    health = folder / "health.proto"
    health.write_text(
        'syntax = "proto3"; package grpc.health.v1;'
        "message HealthCheckRequest { string service = 1; }"
        "message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; } ServingStatus status = 1; }"
        "service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }"
    )
    out = folder / "descriptors.bin"
    # Both packages bring protos of their own.
    included = [
        str(ROOT / "protos"),
        str(folder),
        str(files("grpc_tools") / "_proto"),
        str(Path(protoc.__file__).parents[1]),
    ]
    named = [
        *map(str, sorted((ROOT / "protos" / "remit" / "v1").glob("*.proto"))),
        str(health),
        "google/rpc/error_details.proto",
    ]
    flags = [*(f"-I{each}" for each in included), "--include_imports", f"--descriptor_set_out={out}"]
    assert 0 == protoc.main(["protoc", *flags, *named])
    return out


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, untested: Path, descriptors: Path) -> Iterator[dict[str, Any]]:
    """What each client made of the calls, by its name."""
    subprocess.run([CLIENTS / "install"], check=True, timeout=INSTALLS_WITHIN_S)
    with Server(tmp_path_factory.mktemp("javascript"), policies=untested, http="127.0.0.1:0") as server:
        command = ["node", CLIENTS / "clients.mjs", descriptors, f"http://127.0.0.1:{server.http_port}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False)
        assert 0 == done.returncode, done.stderr
        yield json.loads(done.stdout)


@pytest.mark.parametrize("transport", ["protobuf", "json", "grpc-web"])
@pytest.mark.parametrize("package", ["connect-node", "connect-web"])
def test_clients_of_connect_get_every_kind_of_answer(found: dict[str, Any], package: str, transport: str) -> None:
    told = found[f"{package} {transport}"]

    assert ("EFFECT_ALLOW", "REASON_ALLOWED_BY_RULE") == _decision(told["allowed"])
    assert "EFFECT_DENY" == _decision(told["denied"])[0]
    first, second = told["batch"]["results"]
    assert "EFFECT_ALLOW" == _decision(first)[0]
    assert "action" == second["error"]["fieldViolations"][0]["field"]
    assert ("InvalidArgument", ["tenant"]) == (told["malformed"]["code"], told["malformed"]["violations"])
    assert "DeadlineExceeded" == told["late"]["code"]
    assert ("acme", "TENANT_STATE_SERVING") == (told["watched"]["tenant"], told["watched"]["state"])
    assert ("InvalidArgument", ["tenant"]) == (told["forbidden"]["code"], told["forbidden"]["violations"])
    assert {"status": "SERVING"} == told["health"]


def _decision(told: dict[str, Any]) -> tuple[str, str]:
    return told["decision"]["effect"], told["decision"]["reason"]
