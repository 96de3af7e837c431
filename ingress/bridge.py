"""What is no callback, through ASGI: a request that is there in whole, and uvicorn's way of answering it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from ingress.reader import Reader

_logger = logging.getLogger("uvicorn.error")


class Bridge:
    """From one connection to the application; `tasks` are the server's, which awaits them when it stops."""

    def __init__(self, app: ASGIApp, root_path: str, state: dict[str, Any], tasks: set[asyncio.Task[None]]) -> None:
        self._app = app
        self._root_path = root_path
        self._state = state
        self._tasks = tasks
        self._flow: FlowControl | None = None
        self._cycle: RequestResponseCycle | None = None

    def serve(
        self,
        request: Reader,
        target: bytes,
        transport: asyncio.Transport,
        date: bytes,
        when_answered: Callable[[], None],
    ) -> None:
        """Has the application answer, in a task."""
        if self._flow is None:
            self._flow = FlowControl(transport)
        self._cycle = RequestResponseCycle(
            scope=self._scope(request, target, transport),  # type: ignore[arg-type]
            transport=transport,
            flow=self._flow,
            logger=_logger,
            access_logger=_logger,
            access_log=False,
            default_headers=[(b"date", date)],
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=request.keep_alive,
            on_response=when_answered,
        )
        self._cycle.body += request.body
        self._cycle.more_body = False
        self._cycle.message_event.set()
        task = asyncio.get_running_loop().create_task(self._cycle.run_asgi(self._app))  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def pause(self) -> None:
        """The caller does not read: the application waits."""
        if self._flow is not None:
            self._flow.pause_writing()

    def resume(self) -> None:
        if self._flow is not None:
            self._flow.resume_writing()

    def disconnect(self) -> None:
        """The caller is gone."""
        if self._cycle is not None:
            self._cycle.disconnected = True
            self._cycle.message_event.set()
            self._cycle = None
        self.resume()

    def _scope(self, request: Reader, target: bytes, transport: asyncio.Transport) -> dict[str, Any]:
        path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.version,
            "server": None,
            "client": transport.get_extra_info("peername"),
            "scheme": "http",
            "method": request.method,
            "root_path": self._root_path,
            "path": self._root_path + unquote(path.decode("latin-1")),
            "raw_path": self._root_path.encode() + path,
            "query_string": query,
            "headers": request.headers,
            "state": self._state.copy(),
        }
