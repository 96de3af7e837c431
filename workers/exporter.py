"""The admin address of a worker and of beat: `/metrics`, and `/healthz` while the process lives.

It is served by a thread of the process. Whatever happens here, the work of the process goes on.
"""

import os
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.registry import Collector

from shared import logs
from shared.metrics import CONTENT_TYPE
from shared.settings import Settings

RETRY_SECONDS = 5.0  # between two tries to listen: the process before this one may not have let go of the address
READ_SECONDS = 5.0  # longest wait for a caller
PLAIN = "text/plain; charset=utf-8"

log = logs.get(__name__)


def start(settings: Settings, collector: Collector) -> None:
    """Serves what the collector has from now on, at the settings' admin address; nothing without one."""
    if settings.admin_address is not None:
        threading.Thread(target=_serve, args=(settings.admin_address, collector), name="exporter", daemon=True).start()


def _serve(address: tuple[str, int], collector: Collector) -> None:
    is_reported = False
    while True:
        try:
            with _Server(address, collector) as server:
                log.info("listening", admin=_shown(server.server_address))
                server.serve_forever()
        except OSError as error:
            if not is_reported:
                is_reported = True
                log.error(
                    "cannot show metrics",
                    address=_shown(address),
                    why=error.strerror,
                    do="give this process a CALLBOX_ADMIN_BIND of its own, at an address of this host",
                )
            time.sleep(RETRY_SECONDS)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], collector: Collector) -> None:
        """Raises OSError."""
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._collector = collector
        self._lock = threading.Lock()  # a collector asks servers, over connections that it has once
        super().__init__(address, _Handler)
        os.register_at_fork(after_in_child=self.socket.close)  # a child that outlives its parent would keep the address

    def page(self, path: str) -> tuple[HTTPStatus, str, bytes]:
        """The answer to a GET: status, type and body."""
        match path.partition("?")[0]:
            case "/healthz":
                return HTTPStatus.OK, PLAIN, b"ok\n"
            case "/metrics":
                with self._lock:
                    return HTTPStatus.OK, CONTENT_TYPE, generate_latest(self._collector)
        return HTTPStatus.NOT_FOUND, PLAIN, b"/metrics or /healthz\n"

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.error("an answer failed", exc_info=sys.exception())


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version, sys_version = "callbox", ""
    timeout = READ_SECONDS

    def do_GET(self) -> None:
        status, content_type, body = self.server.page(self.path)
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a scrape is no news."""


def _shown(address: Any) -> str:
    host, port, *_ = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
