"""The console beside a server of the example company."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from support.server import REMIT, ROOT, Server, children_of, environment

from remit.client import Client

GRAPHS = ROOT / "docs" / "graphs"
ASKED = ("user:bob", "UPDATE", "FLOW", "acme.data.reporting")
"""A question that the example company denies."""


def example_paths(client: Client) -> dict[str, list[str]]:
    """Where each page of the example company is, by the page's name: without and with what a person types."""
    decision_id = client.tenant("acme").check(*ASKED).decision_id
    client.tenant("acme").check("user:bob", "UPDATE", "FLOW", "acme.finance.reports")
    denied = "p=user:grace&a=RESTART&k=EXECUTION&ns=acme.finance.payroll"
    (serving,) = [each.revision for each in client.status("acme").tenants]
    return {
        "overview": ["/"],
        "callers": ["/callers", "/callers?of=all+tenants+at+once"],
        "nodes": ["/nodes"],
        "audit": ["/audit"],
        "shadow": ["/shadow"],
        "tenant": ["/t/acme"],
        "explain": [f"/t/acme/explain?{denied}", f"/t/acme/explain?{denied}&at=0s", "/t/acme/explain?p=bob&a=A&k=K"],
        "who": ["/t/acme/who", "/t/acme/who?a=UPDATE&k=FLOW&ns=acme.finance"],
        "where": ["/t/acme/where", "/t/acme/where?p=user:bob"],
        "what": ["/t/acme/what", "/t/acme/what?p=user:bob&ns=acme.finance"],
        "principal": ["/t/acme/principal", "/t/acme/principal?p=user:bob"],
        "matrix": [
            "/t/acme/matrix",
            "/t/acme/matrix?who=group:finance",
            "/t/acme/matrix?k=FLOW&ns=acme.finance",
            "/t/acme/matrix?rows=namespaces+of+a+principal&p=user:bob&k=FLOW&a=VIEW+UPDATE&differ=only+those+that+differ",
        ],
        "explain-reach": ["/t/acme/explain-reach", "/t/acme/explain-reach?c=acme.data&o=acme.finance&r=SUBFLOW"],
        "reach": ["/t/acme/reach?r=SUBFLOW&ns=acme.f"],
        "graph": ["/t/acme/graph", "/t/acme/graph?p=user:carol&file=close.json"],
        "decisions": ["/t/acme/decisions", "/t/acme/decisions?effect=deny&since=24h"],
        "live": ["/t/acme/live"],
        "record": [f"/t/acme/decisions/{decision_id}"],
        "denials": ["/t/acme/denials"],
        "names": ["/t/acme/names", "/t/acme/names?what=role"],
        "namespace": ["/t/acme/namespace?ns=acme.finance"],
        "source": ["/t/acme/source", "/t/acme/source?file=acme/bindings.csv&line=91&coverage=rows"],
        "revisions": ["/t/acme/revisions"],
        "diff": ["/t/acme/diff", f"/t/acme/diff?old={serving}&new={serving}"],
        "tests": ["/t/acme/tests"],
        "pin": [f"/t/acme/pin?rev={serving}", "/t/acme/pin"],
        "bindings": ["/t/acme/bindings"],
    }


class ConsoleProcess:
    """`remit console` on a free port."""

    def __init__(self, server: Server, *flags: str, extra: Mapping[str, str] | None = None) -> None:
        self._command = [
            REMIT,
            "console",
            "--listen",
            "127.0.0.1:0",
            "--target",
            server.target,
            "--graphs",
            str(GRAPHS),
            *flags,
        ]
        self._environment = environment(dict(extra or {}))
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, env=self._environment, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"https?://\S+", line)
        assert found is not None, line + self._process.communicate()[0]
        self.url = found[0]
        return self

    def children(self) -> list[int]:
        return children_of(self._process.pid)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        output, _ = self._process.communicate(timeout=30)
        assert (self._process.returncode, output) == (0, "")


def example_server(folder: Path) -> Server:
    return Server(folder, "--revisions", str(folder / "revisions"))
