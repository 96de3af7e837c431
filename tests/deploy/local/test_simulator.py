"""The simulator of the providers, against the providers' own verification and parsing, and a small HTTP server."""

import shlex
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from random import Random
from threading import Thread
from typing import get_args

import pytest

from deploy.local import simulator
from deploy.local.simulator import Answer, Kind, Sender
from shared.callback import Callback, Request, new_id
from shared.events import DeliveryReport, InboundMessage
from shared.providers import PROVIDERS
from shared.source import Source

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "a-secret-of-a-source-that-is-long"


def test_the_same_dice_make_the_same_event_and_others_another() -> None:
    for kind in get_args(Kind):
        assert simulator.event(kind, NOW, Random(1)) == simulator.event(kind, NOW, Random(1))
        assert simulator.event(kind, NOW, Random(1)) != simulator.event(kind, NOW, Random(2))
    assert isinstance(simulator.event("mo", NOW, Random(1)), InboundMessage)
    assert isinstance(simulator.event("dr", NOW, Random(1)), DeliveryReport)


def test_numbers_are_of_a_range_that_is_given_to_nobody() -> None:
    for seed in range(50):
        message = simulator.event("mo", NOW, Random(seed))
        assert isinstance(message, InboundMessage)
        assert message.sender
        assert message.sender.startswith("+447700900"[:8])


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_request_is_one_that_its_provider_understands(provider: str, kind: Kind) -> None:
    source = Source("s", provider, token="a-token")
    request = simulator.request(source, simulator.event(kind, NOW, Random(1)))
    assert request.path == "/callbacks/s/a-token"
    callback = Callback(
        id=new_id(NOW),
        source="s",
        provider=provider,
        received_at=NOW,
        method=request.method,
        query=request.query,
        headers=request.headers,
        body=request.body,
    )
    (event,) = PROVIDERS[provider].parse(callback, source)
    assert isinstance(event, InboundMessage if kind == "mo" else DeliveryReport)


def test_requests_alternate_between_the_kinds_and_none_comes_twice() -> None:
    source = Source("s", "emnify", unsigned=True)
    made = list(islice(simulator.requests(source, ["mo", "dr"], 4, Random(1)), 9))
    assert len(made) == 4
    assert len({request.body for request in made}) == 4
    assert [b"payload" in request.body for request in made] == [True, False, True, False]


def test_a_line_for_a_shell_has_the_request_and_nothing_else() -> None:
    request = Request(method="POST", path="/callbacks/a", headers={"x-a": "it's; rm"}, body=b'{"a": "$(b)"}')
    words = shlex.split(simulator.curl("http://127.0.0.1:1", request))
    assert words[:4] == ["curl", "-i", "-X", "POST"]
    assert words[4:] == ["-H", "x-a: it's; rm", "--data-raw", '{"a": "$(b)"}', "http://127.0.0.1:1/callbacks/a"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections: set[object]

    def do_POST(self) -> None:
        self.connections.add(self.client_address)
        self.rfile.read(int(self.headers.get("content-length", 0)))
        accepted = self.path != "/refused"
        self.send_response(200 if accepted else 401)
        if accepted:
            self.send_header("X-Callbox-Id", self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Accepts everything but /refused, with the path as the id."""
    _Handler.connections = set()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def post(path: str) -> Request:
    return Request(method="POST", path=path, body=b"x")


def test_answers_come_in_the_order_of_the_requests_over_few_connections(server: ThreadingHTTPServer) -> None:
    noted: list[Answer] = []
    paths = [f"/{number}" for number in range(100)]
    with Sender(url_of(server)) as sender:
        answers = sender.send_all(iter(map(post, paths)), None, noted.append)
    assert [answer.callback_id for answer in answers] == paths
    assert noted == answers
    assert len(_Handler.connections) <= simulator.CONNECTIONS


def test_a_refusal_has_its_status_and_no_id(server: ThreadingHTTPServer) -> None:
    with Sender(url_of(server)) as sender:
        answer = sender.send(post("/refused"))
    assert (answer.status, answer.callback_id, answer.error) == (401, None, "")


def test_a_rate_is_a_limit(server: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    with Sender(url_of(server)) as sender:
        sender.send_all(iter([post("/a")] * 3), 2.0, lambda _: None)
    assert pauses == [0.0, 0.5, 1.0]


def test_where_nobody_listens_the_error_is_named() -> None:
    with Sender("http://127.0.0.1:1") as sender:
        answer = sender.send(post("/a"))
    assert (answer.status, answer.callback_id, answer.error) == (0, None, "Connection refused")
