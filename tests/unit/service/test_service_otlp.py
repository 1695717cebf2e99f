import importlib.util

import pytest
from support.audit_records import decision, happened

from remit.service.errors import StartupError
from remit.service.metrics import Metrics
from remit.service.otlp.exporter import QUEUE, Otlp
from remit.service.settings_reader import read_settings

ENDPOINT = "http://127.0.0.1:4318/v1/logs"


def test_records_past_the_queue_are_dropped_and_counted() -> None:
    metrics = Metrics()
    otlp = Otlp(ENDPOINT, "node-1", metrics)
    otlp.offer([decision()] * (QUEUE - 1), [])
    otlp.offer([decision()], [happened()])
    otlp.offer([decision()], [])
    otlp.offer([], [happened()])
    assert 3 == metrics.registry.get_sample_value("remit_audit_otlp_dropped_total")


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:4318/v1/logs", "http://localhost/v1/logs", "http://[::1]:1/", "https://otel.example/x"],
)
def test_an_endpoint_on_the_loopback_or_by_https(endpoint: str) -> None:
    assert endpoint == read_settings({"audit_otlp": endpoint}).audit_otlp


@pytest.mark.parametrize(
    ("endpoint", "told"),
    [
        ("http://otel.example/v1/logs", "in the clear: use `https`"),
        ("127.0.0.1:4318", "expected a URL such as"),
        ("ftp://127.0.0.1/", "expected a URL such as"),
        ("http://", "expected a URL such as"),
        ("http://127.0.0.1:x/", "expected a URL such as"),
    ],
)
def test_unusable_endpoint_is_refused(endpoint: str, told: str) -> None:
    with pytest.raises(StartupError, match=told):
        read_settings({"audit_otlp": endpoint})


def test_server_without_the_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(StartupError, match="the extra `otlp`"):
        Otlp(ENDPOINT, "node-1", Metrics())
