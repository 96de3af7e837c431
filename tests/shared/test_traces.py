"""Traces: off unless they are asked for, and what a span may have."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from shared import traces
from shared.config import ConfigError
from shared.errors import Unavailable
from shared.spans import Traces

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WANTED = {"OTEL_SERVICE_NAME": "callbox"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def made(exporter: InMemorySpanExporter) -> Traces:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider)


@pytest.mark.parametrize("environ", [{}, {"OTEL_SERVICE_NAME": ""}, {**WANTED, "OTEL_SDK_DISABLED": "true"}])
def test_they_are_off_unless_they_are_asked_for(environ: dict[str, str]) -> None:
    assert traces.connect(environ) is None
    traces.check(environ)


def test_what_is_off_is_not_even_loaded() -> None:
    program = "import sys, ingress.app, workers.app; print('shared.spans' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("False\n", 0)


def test_without_the_package_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shared.spans", None)
    for ask in (traces.check, traces.connect):
        with pytest.raises(ConfigError, match=r"^OTEL_SERVICE_NAME: OpenTelemetry is not installed; `pip install"):
            ask(WANTED)
    assert traces.connect({}) is None


def test_a_group_has_a_link_to_each_request_that_is_sampled(made: Traces, exporter: InMemorySpanExporter) -> None:
    requests = [made.request("fleet", NOW) for _ in range(3)]
    with made.group("append", [*(request.traceparent for request in requests), "", "damaged", "00-0-2-1"], 6):
        pass
    for request in requests:
        request.end("accepted")
    group, *spans = exporter.get_finished_spans()
    assert [link.context.span_id for link in group.links] == [span.context.span_id for span in spans]
    assert [link.context.trace_id for link in group.links] == [span.context.trace_id for span in spans]
    assert dict(group.attributes or {}) == {"callbox.callbacks": 6}
    assert dict(spans[0].attributes or {}) == {"callbox.source": "fleet", "callbox.outcome": "accepted"}
    assert spans[0].start_time == NOW.timestamp() * 1e9
    assert Traces(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)).request("fleet", NOW).traceparent == ""


@pytest.mark.parametrize(
    ("error", "why"), [(Unavailable("Redis is away"), "Redis is away"), (KeyError("+447700900123"), "KeyError")]
)
def test_a_span_has_no_message_of_others(
    made: Traces, exporter: InMemorySpanExporter, error: Exception, why: str
) -> None:
    with pytest.raises(type(error)), made.group("batch", [], 1):
        raise error
    (span,) = exporter.get_finished_spans()
    assert (span.status.is_ok, span.status.description, span.events) == (False, why, ())
