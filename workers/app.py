"""The workers as a Celery application: `celery -A workers.app worker` (or `beat`, `flower`).

Celery brings the processes, the schedule, the time limits and the events for Flower. The data does not pass through
it: its messages are only doorbells, and losing one costs seconds at most.
"""

import mmap
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import billiard.pool
from celery import Celery, bootsteps, signals

from shared import config, inbox, logs, traces
from shared.errors import Unavailable
from shared.inbox import doorbell
from workers import broker, exporter, programs, watchdog
from workers.database import Database
from workers.drain.drainer import Drainer
from workers.drain.rounds import Rounds, Shown
from workers.drain.store import Store
from workers.figures import Figures
from workers.names import consumer_name
from workers.reporter import Reporter
from workers.sources import Sources
from workers.tally import Tally, Totals
from workers.traced import TracedStore

REDIS_SECONDS = 5.0  # longest wait of a worker for an answer of Redis
FIGURES_SECONDS = 2.0  # longest wait of beat's metrics for an answer: Prometheus waits 10 s for all of them
MAINTAIN = "callbox.maintain"
MAINTAIN_SECONDS = 30.0  # between two maintenances: held sources are tried, the inbox audited, servers looked at
LEAVE_SECONDS = 1.0  # longest wait of a child that ends for its parent to read its last result, which is not used

settings = config.or_exit(lambda: config.load_settings(os.environ))
log = logs.get(__name__)


app = Celery("callbox", set_as_current=False)
app.conf.update(
    **broker.settings_of(settings.celery_url),
    task_default_queue=doorbell.QUEUE,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    worker_soft_shutdown_timeout=10.0,
    # A drain ends by itself after drain_seconds; one that does not hangs, and its process is replaced.
    task_time_limit=settings.drain_seconds + 3 * settings.statement_seconds,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    beat_scheduler="workers.beat:Scheduler",
    beat_schedule={
        "drain": {"task": doorbell.TASK, "schedule": settings.beat_seconds},
        "maintain": {"task": MAINTAIN, "schedule": MAINTAIN_SECONDS},
    },
)

app.amqp.Connection = broker.Connection
programs.prepare(app, os.environ, settings.log_level)

# A stopping parent forgets a doorbell whose child has not reported yet that it has it, and never reads the child's
# result. By default the child then waits 30 s for that before it ends, and with it the worker.
billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = round(
    LEAVE_SECONDS / billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
)

# One byte that the parent shares with its children: a drain reads it after each batch, and ends when it is set.
_stopping = mmap.mmap(-1, 1)
_sources = Sources(settings)
_rounds: Rounds | None = None
_worker_pid = os.getpid()  # of the parent, once it has forked
_tally = Tally()  # of this process; a child's goes to its parent, where the parent shows metrics
_pool: Any = None  # of the parent: its children


class Failed(Exception):
    """A task failed, by a fault of ours."""


@app.task(name=doorbell.TASK)
def drain() -> Shown:
    """Empties the inbox into PostgreSQL. Takes no arguments and returns counts, all of which Flower may show."""
    with _no_message_of_others():
        return _get_rounds().run()


@app.task(name=MAINTAIN)
def maintain() -> Shown:
    """What is due now and then, whether or not callbacks come. Takes no arguments and returns counts, as a drain."""
    with _no_message_of_others():
        return _get_rounds().maintain()


@contextmanager
def _no_message_of_others() -> Iterator[None]:
    """Celery logs the messages of exceptions, and Flower shows them: those of others may hold what was sent."""
    try:
        yield
    except Unavailable:
        raise
    except Exception as error:
        log.error("failed", exc_info=error)
        raise Failed(f"by {type(error).__name__}; the worker's log has where") from None


def _get_rounds() -> Rounds:
    """This process's drainers, made after the fork: no connection may be shared with the parent."""
    global _rounds
    if _rounds is None:
        found = inbox.Inbox.connect(settings, REDIS_SECONDS)
        database = Database(settings.database_url, settings.statement_seconds)
        traced = config.or_exit(lambda: traces.connect(os.environ))
        store = Store(database) if traced is None else TracedStore(database, traced)
        name = consumer_name(_worker_pid)
        drainers = [
            Drainer(shard, name, _ring(found), store, _sources, settings, _is_stopping, tally=_tally)
            for shard in found.shards
        ]
        reporter = Reporter(found, database, settings.redis_wait_replicas, _sources, _tally)
        _rounds = Rounds(drainers, store, settings.drain_seconds, os.getpid(), _is_stopping, reporter)
    return _rounds


def _ring(found: inbox.Inbox) -> Callable[[], None]:
    """Asks for another drain, unless the broker is away: then beat asks once it is back."""

    def ring() -> None:
        with suppress(Unavailable):
            found.ring(datetime.now(UTC))

    return ring


def _is_stopping() -> bool:
    return _stopping[0] != 0


@signals.worker_init.connect
def _read_configuration(**_: Any) -> None:
    global _worker_pid
    _sources.start()
    config.or_exit(lambda: traces.check(os.environ))
    _worker_pid = os.getpid()
    watchdog.start(settings)
    _show_metrics(list(_sources))
    _make_room()


def _show_metrics(sources: Sequence[str]) -> None:
    """Before the fork, so that every child sends what it counts to this process."""
    global _tally
    if settings.admin_address is not None:
        totals = Totals(sources, _count_children)
        totals.start()
        _tally = Tally(totals.sender)
        exporter.start(settings, totals)


def _count_children() -> int:
    return len(_pool.info.get("processes", ())) if _pool is not None else 0


def _make_room() -> None:
    """Drains before Celery starts when Redis is full: no doorbell could be rung then, and only a drain makes room."""
    global _rounds
    try:
        with inbox.Inbox.connect(settings, REDIS_SECONDS) as found:
            if not any(map(inbox.is_full, found.shards)):
                return
        log.warning("draining before anything else", why="Redis has no memory left")
        _get_rounds().run()
    except Unavailable as error:
        log.warning("could not make room", why=str(error))
    finally:
        if _rounds is not None:
            _rounds.close()  # its connections are not for the children
            _rounds = None


@signals.beat_init.connect
def _show_figures(**_: Any) -> None:
    database = Database(settings.database_url, FIGURES_SECONDS)
    found = inbox.Inbox.connect(settings, FIGURES_SECONDS)
    exporter.start(settings, Figures(found, database, FIGURES_SECONDS))


@signals.worker_ready.connect
def _report_ready(sender: Any, **_: Any) -> None:
    global _pool
    _pool = sender.pool
    database = Database(settings.database_url, settings.statement_seconds)
    try:
        database.check()
    except Unavailable as error:
        log.warning("worker started, but cannot store yet", why=str(error))
    else:
        log.info("worker started")
    finally:
        database.close()


class FollowHangups(bootsteps.StartStopStep):  # type: ignore[misc]
    """Has SIGHUP mean that callbox.toml is read again. Celery has set up before this step that the parent starts anew,
    which would end all drains."""

    def start(self, parent: Any) -> None:
        _sources.follow_hangups()


app.steps["worker"].add(FollowHangups)


@signals.worker_process_init.connect
def _ignore_hangups(**_: Any) -> None:
    """One that goes to the whole group of processes is for the parent."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


@signals.worker_shutting_down.connect
def _stop_drains(**_: Any) -> None:
    _stopping[0] = 1
    watchdog.notify(watchdog.STOPPING)


@signals.worker_shutdown.connect
def _take_back_the_report(**_: Any) -> None:
    _sources.leave()


@signals.worker_process_shutdown.connect
def _leave(**_: Any) -> None:
    _tally.hand_over()
    if _rounds is not None:
        _rounds.close()
