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
    """The exporter says why it failed to a logger only."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def serve(descriptor: int) -> None:
    """Answers each batch with why nothing of it was taken, '' where all was; until nobody sends any more."""
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
    """What the exporter says quotes the path and what stands behind `?` there, which may be a key."""
    query = urlsplit(endpoint).query
    return text.replace(query, "***") if query else text


def _log_record(decided: bool, row: tuple[Any, ...]) -> LogRecord:
    record = DecisionRecord._make(row) if decided else LifecycleRecord._make(row)
    told = (
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
        body=" ".join(filter(None, told)),
        attributes=_attributes(record),
        event_name=DECISION if decided else LIFECYCLE,
    )


def _attributes(record: DecisionRecord | LifecycleRecord) -> dict[str, str | int]:
    """The record's fields, without its time and those that are empty."""
    told: dict[str, str | int] = {}
    for name, value in record._asdict().items():
        if value != "" and name != "time_us":
            told[f"remit.{name}"] = format_id(value) if isinstance(value, bytes) else value
    return told


def _trace(trace_id: str) -> Context | None:
    """None where it is not such as OpenTelemetry's: then it is among the attributes only."""
    if not _LINKED(trace_id):
        return None
    span = SpanContext(int(trace_id, 16), _NO_SPAN, is_remote=True)
    return set_span_in_context(NonRecordingSpan(span))
