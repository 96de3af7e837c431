"""Sends requests to an ingress, over a few connections that stay open."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from threading import local
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shared.callback import Request

CONNECTIONS = 8


class Answer(NamedTuple):
    """An answer of the ingress: its HTTP status (0, with an error, if none came), the callback's id, the time."""

    status: int
    callback_id: str | None
    seconds: float
    error: str = ""


class Sender:
    """Sends requests to one ingress over connections that stay open, one for each thread, until it is closed."""

    def __init__(self, base_url: str) -> None:
        self._address = urlsplit(base_url)
        self._own = local()
        self._connections: list[HTTPConnection] = []

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections:
            connection.close()

    def send_all(
        self, requests: Iterator[Request], per_second: float | None, note: Callable[[Answer], Any]
    ) -> list[Answer]:
        """Sends them, no faster than `per_second`; calls `note` with every answer as it comes."""
        answers: list[Answer] = []
        began = time.monotonic()
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            waiting = []
            for number, request in enumerate(requests):
                if per_second:
                    time.sleep(max(0.0, began + number / per_second - time.monotonic()))
                waiting.append(pool.submit(self.send, request))
                if len(waiting) >= 4 * CONNECTIONS:
                    answers.append(waiting.pop(0).result())
                    note(answers[-1])
            for future in waiting:
                answers.append(future.result())
                note(answers[-1])
        return answers

    def send(self, request: Request) -> Answer:
        """Sends one request and reads its answer."""
        began = time.monotonic()
        connection = self._connection()
        try:
            connection.request(request.method, request.target, request.body, request.headers)
            response = connection.getresponse()
            response.read()
        except (OSError, HTTPException) as error:
            connection.close()
            return Answer(0, None, time.monotonic() - began, getattr(error, "strerror", "") or type(error).__name__)
        return Answer(response.status, response.headers.get("x-callbox-id"), time.monotonic() - began)

    def _connection(self) -> HTTPConnection:
        if not hasattr(self._own, "connection"):
            kind = HTTPSConnection if self._address.scheme == "https" else HTTPConnection
            self._own.connection = kind(self._address.hostname or "", self._address.port, timeout=30)
            self._connections.append(self._own.connection)
        connection: HTTPConnection = self._own.connection
        return connection
