"""The process that sends audit records to an OpenTelemetry collector."""

import logging
import re
from typing import Any, Final
from urllib.parse import urlsplit

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

from remit.audit.ids import format_id
from remit.audit.record import DecisionRecord, LifecycleRecord
from remit.process.channel import channel_to_parent
from remit.service.version import VERSION

DECISION: Final = "remit.decision"
LIFECYCLE: Final = "remit.lifecycle"
_NICE: Final = 19
_NS_PER_US: Final = 1_000
_NO_SPAN: Final = 0
_SCOPE: Final = InstrumentationScope("remit.audit", VERSION)
_LINKED = re.compile(r"(?!0{32})[0-9a-f]{32}").fullmatch


class _LastWords(logging.Handler):
    """Captures why the exporter failed: it says so only to a logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def serve(descriptor: int) -> None:
    """Answers each batch with the reason that it was not sent, '' if it was, until the channel closes."""
    words = _LastWords()
    logging.getLogger().addHandler(words)
    with channel_to_parent(descriptor, _NICE) as channel:
        endpoint, node = channel.receive()
        exporter = OTLPLogExporter(endpoint=endpoint)
        names = {"service.name": "remit", "service.version": VERSION, "service.instance.id": node}
        resource = Resource.create(names)
        while True:
            batch: list[tuple[bool, tuple[Any, ...]]] = channel.receive()
            words.text = ""
            records = [ReadableLogRecord(_log_record(*each), resource, _SCOPE) for each in batch]
            sent = exporter.export(records) is LogRecordExportResult.SUCCESS
            channel.send("" if sent else _without_query(words.text, endpoint) or "the exporter gives no reason")


def _without_query(text: str, endpoint: str) -> str:
    """Masks the query of the URL, which may be a key: the exporter's message quotes it."""
    query = urlsplit(endpoint).query
    return text.replace(query, "***") if query else text


def _log_record(decided: bool, row: tuple[Any, ...]) -> LogRecord:
    record = DecisionRecord._make(row) if decided else LifecycleRecord._make(row)
    words = (
        (record.effect, record.reason, record.tenant, record.principal, record.action, record.kind, record.namespace)
        if isinstance(record, DecisionRecord)
        else (record.type, record.tenant, record.revision)
    )
    return LogRecord(
        timestamp=record.time_us * _NS_PER_US,
        observed_timestamp=record.time_us * _NS_PER_US,
        context=_trace(record.trace_id) if isinstance(record, DecisionRecord) else None,
        severity_number=SeverityNumber.INFO,
        severity_text="INFO",
        body=" ".join(filter(None, words)),
        attributes=_attributes(record),
        event_name=DECISION if decided else LIFECYCLE,
    )


def _attributes(record: DecisionRecord | LifecycleRecord) -> dict[str, str | int]:
    """The record's fields, except its time and empty ones."""
    attributes: dict[str, str | int] = {}
    for name, value in record._asdict().items():
        if value != "" and name != "time_us":
            attributes[f"remit.{name}"] = format_id(value) if isinstance(value, bytes) else value
    return attributes


def _trace(trace_id: str) -> Context | None:
    """None if it is not a trace id of OpenTelemetry; the attributes still have it."""
    if not _LINKED(trace_id):
        return None
    span = SpanContext(int(trace_id, 16), _NO_SPAN, is_remote=True)
    return set_span_in_context(NonRecordingSpan(span))
