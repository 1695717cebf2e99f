from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Self

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord


class Collector:
    """An OpenTelemetry collector for logs, on the loopback, as far as a sender can see."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[ExportLogsServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = ExportLogsServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                good = self.path == "/v1/logs" and self.headers["content-type"] == "application/x-protobuf"
                if good:
                    collector.requests.append(request)
                content = ExportLogsServiceResponse().SerializeToString()
                self.send_response(200 if good else 404)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}/v1/logs"

    @property
    def records(self) -> list[LogRecord]:
        return [
            record
            for request in self.requests
            for of_resource in request.resource_logs
            for of_scope in of_resource.scope_logs
            for record in of_scope.log_records
        ]

    @property
    def resources(self) -> list[dict[str, Any]]:
        """Who sent, of each request."""
        return [told(each.resource) for request in self.requests for each in request.resource_logs]

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def told(attributed: Any) -> dict[str, Any]:
    """The attributes of a message."""
    return {
        each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
        for each in attributed.attributes
    }
