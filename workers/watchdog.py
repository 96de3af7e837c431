"""Reports a worker to systemd: that it started, that it is not stalled, and that it stops.

systemd restarts a worker whose reports fail to come for `WatchdogSec`. A report is a datagram to the socket that
NOTIFY_SOCKET names, see sd_notify(3). Without that variable, in a container or by hand, nothing is reported.
"""

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from shared import inbox, logs
from shared.inbox import RedisUnavailable
from shared.settings import Settings
from workers import health
from workers.names import consumer_prefix

READY, WORKING, STOPPING = "READY=1", "WATCHDOG=1", "STOPPING=1"
REPORTS = 3  # within the time that systemd waits for one: the check before each may take long
SEND_SECONDS = 1.0  # longest wait for systemd to take a report

log = logs.get(__name__)


def start(settings: Settings) -> None:
    """Reports that this worker, the calling process, has started. From then on a thread reports that it works."""
    started_at = time.monotonic()
    prefix = consumer_prefix(os.getpid())
    watch(lambda: _why_stalled(settings, prefix, time.monotonic() - started_at))


def watch(why_stalled: Callable[[], str | None]) -> None:
    """Reports the start, then again and again that the worker works, except while `why_stalled` gives a reason. Without
    a watchdog of systemd for this process there is no second report."""
    notify(READY)
    pause_seconds = _pause_seconds()
    if pause_seconds is not None:
        threading.Thread(target=_report, args=(why_stalled, pause_seconds), name="watchdog", daemon=True).start()


def notify(state: str) -> None:
    """Sends a state to systemd. Does nothing where systemd asks for none or takes none: the worker goes on."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(SEND_SECONDS)
        # systemd writes the first byte of an abstract address, which is 0, as @.
        sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


def _pause_seconds() -> float | None:
    """How long to wait between two reports; None where systemd does not watch this process."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    is_watched = os.environ.get("WATCHDOG_PID") in (None, str(os.getpid()))
    return int(microseconds) / 1_000_000 / REPORTS if is_watched and microseconds.isdecimal() else None


def _report(why_stalled: Callable[[], str | None], pause_seconds: float) -> None:
    while True:
        why = why_stalled()
        if why is None:
            notify(WORKING)
        else:
            log.error("stalled, and not reported to systemd, which restarts this worker", why=why)
        time.sleep(pause_seconds)


def _why_stalled(settings: Settings, prefix: str, up_seconds: float) -> str | None:
    """Why the worker of these consumers counts as stalled; None if it does not."""
    try:
        with inbox.Inbox.connect(settings, health.CHECK_SECONDS / 2) as found:
            return health.stalled(found, prefix, settings, up_seconds)
    except RedisUnavailable:
        return None  # restarting the worker would not bring Redis back
