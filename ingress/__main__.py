"""`python -m ingress`: the ingress as a process, with every limit in place."""

import argparse
import os
import socket
import sys

import uvicorn

from ingress import admin, metrics
from ingress.app import create_app, look_less_for_garbage
from ingress.gate import raise_descriptor_limit
from ingress.protocol import Bounded
from ingress.stop import Server, Stop
from shared import config, hangup, logs, traces
from shared.providers import PROVIDERS

DESCRIPTORS = 65_536  # asked for; the limit of connections is CALLBOX_CONNECTION_LIMIT
BACKLOG = 2048
FLUSH_SECONDS = 3.0  # after the last connection: what a stop may still take

log = logs.get(__name__)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ingress", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at [default: 127.0.0.1]")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at [default: 8000]")
    parser.add_argument("--fd", type=int, help="a listening socket that was inherited, in their place")
    parser.add_argument("--admin-fd", type=int, help="one for the admin paths, in the place of CALLBOX_ADMIN_BIND")
    given = parser.parse_args()
    hangup.postpone()
    configuration = config.or_exit(lambda: config.load(None, os.environ, PROVIDERS))
    traced = config.or_exit(lambda: traces.connect(os.environ))
    settings = configuration.settings
    logs.configure(settings.log_level)
    metrics.forget_dead_processes()
    raise_descriptor_limit(DESCRIPTORS)
    listener = _inherited(given.fd) if given.fd is not None else _bound(given.host, given.port)
    admin_listener = None
    if given.admin_fd is not None:
        admin_listener = _inherited(given.admin_fd)
    elif settings.admin_address is not None:
        admin_listener = _bound(*settings.admin_address)
    stop = Stop()
    app = create_app(configuration, admin_listener=admin_listener, stop=stop, traces=traced)
    look_less_for_garbage()
    server = Server(
        uvicorn.Config(
            app,
            http=Bounded,
            ws="none",
            lifespan="on",
            log_config=None,
            proxy_headers=False,  # whom to believe is CALLBOX_TRUSTED_PROXIES
            backlog=BACKLOG,
            timeout_graceful_shutdown=int(settings.stop_seconds + FLUSH_SECONDS),
        ),
        stop,
        settings.stop_grace_seconds,
    )
    log.info("listening", callbacks=_address(listener), admin=_address(admin_listener or listener))
    server.run(sockets=[listener])


def _address(listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(host: str, port: int) -> socket.socket:
    try:
        return admin.bind(host, port)
    except OSError as error:
        print(f"cannot listen at {host}:{port}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        raise SystemExit(1) from None


def _inherited(descriptor: int) -> socket.socket:
    try:
        return socket.socket(fileno=descriptor)
    except OSError as error:
        print(f"cannot use the descriptor {descriptor}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
