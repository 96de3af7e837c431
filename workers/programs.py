"""Celery's programs as Callbox runs them, whoever starts them: `python -m workers` or `celery -A workers.app`.

Their banners, and what they print when a signal stops them, become lines of the log. Flower changes nothing unless it
is asked to, and has a password where others reach it.
"""

import sys
from collections.abc import MutableMapping
from typing import Any

import billiard.util
import celery.apps.beat
import celery.apps.worker
import click
from celery import Celery, signals
from tornado.options import options as flower_options

from shared import logs
from shared.loopback import is_loopback


def prepare(app: Celery, environ: MutableMapping[str, str], log_level: str) -> None:
    """To be called once, before a program of this application starts."""
    # Kubernetes describes a service called `flower` in this variable, which Flower takes for its own.
    if not environ.get("FLOWER_PORT", "").isdecimal():
        environ.pop("FLOWER_PORT", None)
    environ.setdefault("FLOWER_READ_ONLY", "true")
    celery.apps.worker.safe_say = _log_output
    app.Beat = app.subclass_with_self(_Beat)

    def configure_logs(**_: Any) -> None:
        billiard.util.get_logger()  # without one it prints
        logs.configure(log_level)

    def worker_begins(instance: Any, **_: Any) -> None:
        """Before its banner, and before it warns of being root."""
        configure_logs()
        instance.quiet = True

    def modules_are_imported(**_: Any) -> None:
        """Flower has its options by now, and no signal of its own."""
        context = click.get_current_context(silent=True)
        if context is not None and context.info_name == "flower":
            configure_logs()
            _check_flower_or_exit()

    signals.setup_logging.connect(configure_logs, weak=False)
    signals.import_modules.connect(modules_are_imported, weak=False)
    signals.celeryd_init.connect(worker_begins, weak=False)


def check_flower(options: Any) -> None:
    """Raises ValueError when Flower, with these options, would show itself to other hosts without a password."""
    if not (options.basic_auth or options.auth or options.unix_socket or is_loopback(options.address)):
        raise ValueError(
            f"Flower would show itself without a password at {options.address or 'every address of this host'}:"
            " set FLOWER_BASIC_AUTH=USER:PASSWORD, or add --address=127.0.0.1"
        )


def _check_flower_or_exit() -> None:
    try:
        check_flower(flower_options)
    except ValueError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None


def _log_output(message: object, file: object = None) -> None:
    """What a worker logs in its handlers of signals."""
    logs.write_line("info", "celery.apps.worker", str(message).strip())


class _Beat(celery.apps.beat.Beat):  # type: ignore[misc]
    """It has no signal before its banner."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "quiet": True})
