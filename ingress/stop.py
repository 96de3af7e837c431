"""How an ingress process stops: first `/readyz` shows it, while callbacks are still taken; then nothing new is
accepted, and what is here is finished.

Who sends callbacks here, a proxy or a load balancer, needs a moment to find that out. What it sends until then would be
lost to it if the listener closed first.
"""

from time import monotonic
from types import FrameType

import uvicorn


class Stop:
    """Whether the process was asked to stop."""

    has_begun = False


class Server(uvicorn.Server):
    """Closes its listener `grace_seconds` after the first signal, or at once after a second one."""

    def __init__(self, config: uvicorn.Config, stop: Stop, grace_seconds: float) -> None:
        super().__init__(config)
        self._stop = stop
        self._grace_seconds = grace_seconds
        self._closes_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._stop.has_begun or not self._grace_seconds:
            self._stop.has_begun = True
            super().handle_exit(sig, frame)
            return
        self._stop.has_begun = True
        self._captured_signals.append(sig)  # uvicorn ends by it
        self._closes_at = monotonic() + self._grace_seconds

    async def on_tick(self, counter: int) -> bool:
        if monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)
