"""The workers as a Celery application: `celery -A workers.app worker` (or `beat`, `flower`).

Celery brings the processes, the schedule, the time limits and the events for Flower. The data does not pass through
it: its messages are only doorbells, and losing one costs seconds at most.
"""

import mmap
import os
from datetime import UTC, datetime
from typing import Any

import billiard.pool
from celery import Celery, signals
from kombu.connection import Connection

from shared import config, inbox, logs
from shared.config import Config
from shared.errors import Unavailable
from shared.inbox import doorbell
from shared.providers import PROVIDERS
from workers import health
from workers.database import Database
from workers.drain.drainer import Drainer
from workers.drain.store import Store
from workers.reporter import Reporter

RECONNECT_SECONDS = 2.0  # longest pause between two tries to reach Redis
REDIS_SECONDS = 5.0  # longest wait of a worker for an answer of Redis
LEAVE_SECONDS = 1.0  # longest wait of a child that ends for its parent to read its last result, which nobody uses

# Kubernetes describes a service called `flower` in this variable, which Flower takes for its own.
if not os.environ.get("FLOWER_PORT", "").isdecimal():
    os.environ.pop("FLOWER_PORT", None)

settings = config.or_exit(lambda: config.load_settings(os.environ))
log = logs.get(__name__)


class _Connection(Connection):
    """kombu's connection to Redis, which after an outage tries again every 2 s, not after up to 30 s."""

    def ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        return super().ensure_connection(  # type: ignore[no-untyped-call]
            *args, **{"interval_start": 0.5, "interval_max": RECONNECT_SECONDS, **kwargs}
        )


app = Celery("callbox", broker=settings.redis_url, set_as_current=False)
app.conf.update(
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
    broker_transport_options={"visibility_timeout": 120, "socket_timeout": 30, "socket_connect_timeout": 5},
    beat_scheduler="celery.beat:Scheduler",  # nothing to remember: the only entry is a doorbell
    beat_schedule={
        "drain": {
            "task": doorbell.TASK,
            "schedule": settings.beat_seconds,
            "options": {"expires": settings.beat_seconds},
        }
    },
)

app.amqp.Connection = _Connection

# A stopping parent forgets a doorbell whose child has not said yet that it has it, and never reads the child's result.
# By default the child then waits 30 s for that before it ends, and with it the worker.
billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = round(
    LEAVE_SECONDS / billiard.pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
)

# One byte that the parent shares with its children: a drain reads it after each batch, and ends when it is set.
_stopping = mmap.mmap(-1, 1)
_configuration: Config | None = None
_drainer: Drainer | None = None
_worker_pid = os.getpid()  # of the parent, once it has forked


@app.task(name=doorbell.TASK)
def drain() -> dict[str, int]:
    """Empties the inbox into PostgreSQL. Takes no arguments and returns counts, all of which Flower may show."""
    return _get_drainer().run()


def _get_drainer() -> Drainer:
    """This process's drainer, made after the fork: neither connection may be shared with the parent."""
    global _drainer
    if _drainer is None:
        configuration = _configuration or _load()
        client = inbox.connect(settings.redis_url, REDIS_SECONDS)
        database = Database(settings.database_url, settings.statement_seconds)
        _drainer = Drainer(
            client,
            f"{health.consumer_prefix(_worker_pid)}{os.getpid()}",
            Store(database),
            configuration.sources,
            settings,
            now=lambda: datetime.now(UTC),
            stopping=lambda: _stopping[0] != 0,
            reporter=Reporter(client, database),
        )
    return _drainer


def _load() -> Config:
    return config.or_exit(lambda: config.load(None, os.environ, PROVIDERS))


@signals.setup_logging.connect
def _configure_logs(**_: Any) -> None:
    logs.configure(settings.log_level)


@signals.worker_init.connect
def _read_configuration(**_: Any) -> None:
    global _configuration, _worker_pid
    _configuration = _load()
    _worker_pid = os.getpid()
    _make_room()


def _make_room() -> None:
    """Drains before Celery starts when Redis is full: no doorbell could be rung then, and only a drain makes room."""
    global _drainer
    try:
        with inbox.connect(settings.redis_url, REDIS_SECONDS) as client:
            if not inbox.is_full(client):
                return
        log.warning("draining before anything else", why="Redis has no memory left")
        _get_drainer().run()
    except Unavailable as error:
        log.warning("could not make room", why=str(error))
    finally:
        if _drainer is not None:
            _drainer.close()  # its connections are not for the children
            _drainer = None


@signals.worker_ready.connect
def _report_ready(**_: Any) -> None:
    database = Database(settings.database_url, settings.statement_seconds)
    try:
        database.check()
    except Unavailable as error:
        log.warning("worker started, but cannot store yet", why=str(error))
    else:
        log.info("worker started")
    finally:
        database.close()


@signals.worker_shutting_down.connect
def _stop_drains(**_: Any) -> None:
    _stopping[0] = 1


@signals.worker_process_shutdown.connect
def _leave(**_: Any) -> None:
    if _drainer is not None:
        _drainer.close()
