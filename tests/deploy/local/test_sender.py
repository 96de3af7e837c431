"""How requests are sent, against a small HTTP server."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from deploy.local.sender import CONNECTIONS, Answer, Sender
from shared.callback import Request


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
    assert len(_Handler.connections) <= CONNECTIONS


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
