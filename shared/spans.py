"""The spans of one process. A span has the name of its source, an outcome and counts, and no exception's message."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from threading import Thread
from typing import NamedTuple

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.errors import Unavailable

LINKS = 1000  # of one span, at most; OTEL_SPAN_LINK_COUNT_LIMIT is another limit
CLOSE_SECONDS = 2.0  # for the spans that are left to be sent


class RequestSpan(NamedTuple):
    """A request under way. `traceparent` goes with its callback; empty when this one is not sampled."""

    span: Span
    traceparent: str

    def end(self, outcome: str) -> None:
        self.span.set_attribute("callbox.outcome", outcome)
        self.span.end()


class Traces:
    """Makes the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("callbox")

    @classmethod
    def exported(cls, environ: Mapping[str, str]) -> "Traces":
        """Traces that a thread sends as OpenTelemetry's variables demand."""
        limits = SpanLimits(max_links=None if environ.get("OTEL_SPAN_LINK_COUNT_LIMIT") else LINKS)
        provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def request(self, source: str, arrived_at: datetime) -> RequestSpan:
        """Begins the span of a request. The context that its caller may have sent is ignored: strangers choose it."""
        span = self._tracer.start_span(
            "request",
            kind=SpanKind.SERVER,
            attributes={"callbox.source": source},
            start_time=round(arrived_at.timestamp() * 1e9),
        )
        return RequestSpan(span, _traceparent(span))

    @contextmanager
    def group(self, name: str, traceparents: Iterable[str], callbacks: int) -> Iterator[Span]:
        """The span of what is done for many callbacks at once, with a link to the request of each that has one."""
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.INTERNAL,
            links=[link for link in map(_link, traceparents) if link is not None],
            attributes={"callbox.callbacks": callbacks},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                why = str(error) if isinstance(error, Unavailable) else type(error).__name__
                span.set_status(Status(StatusCode.ERROR, why))
                raise

    def close(self) -> None:
        """Sends what is left, within CLOSE_SECONDS."""
        sender = Thread(target=self._provider.force_flush, daemon=True)
        sender.start()
        sender.join(CLOSE_SECONDS)


def _traceparent(span: Span) -> str:
    """As W3C Trace Context, 3.2, has it."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-01" if context.trace_flags.sampled else ""


def _link(traceparent: str) -> Link | None:
    try:
        version, trace_id, span_id, flags = traceparent.split("-")
        context = SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
    except ValueError:
        return None
    return Link(context) if version == "00" and context.is_valid else None
