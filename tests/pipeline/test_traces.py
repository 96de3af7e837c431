"""A trace through real processes: request → append → batch, as a collector of OpenTelemetry gets it."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests import said
from tests.conftest import wait_until
from tests.pipeline.conftest import Start


class Collector(ThreadingHTTPServer):
    """Takes spans over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []

    def spans(self, name: str) -> list[Any]:
        requests = map(ExportTraceServiceRequest.FromString, self.bodies)
        found = (scope for request in requests for each in request.resource_spans for scope in each.scope_spans)
        return [span for scope in found for span in scope.spans if span.name == name]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever)
        thread.start()
        yield collector
        collector.shutdown()
        thread.join()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_a_callback_is_followed_from_its_request_to_its_batch(start: Start, collector: Collector) -> None:
    up = start(
        "--no-flower",
        OTEL_SERVICE_NAME="callbox",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.server_port}",
        OTEL_EXPORTER_OTLP_COMPRESSION="none",
        OTEL_BSP_SCHEDULE_DELAY="100",
    )
    up.send(*(up.request("open", "mo") for _ in range(3)))
    up.wait_drained()
    wait_until(lambda: len(collector.spans("request")) == 3, "the spans of three requests")
    requests = {(span.trace_id, span.span_id) for span in collector.spans("request")}
    assert all(
        attributes(span) == {"callbox.source": "open", "callbox.outcome": "accepted"}
        for span in collector.spans("request")
    )

    def has_links(name: str) -> bool:
        return {(link.trace_id, link.span_id) for span in collector.spans(name) for link in span.links} == requests

    for name in ("append", "batch"):
        wait_until(partial(has_links, name), f"links of each {name} to its requests")
        assert sum(attributes(span)["callbox.callbacks"] for span in collector.spans(name)) == 3
    assert not list(said.private_in(b"".join(collector.bodies).decode(errors="replace")))
    assert up.stop() == 0
