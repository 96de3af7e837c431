"""The fault behind each alert: how it begins, what keeps it up, and how an operator ends it."""

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.alerts.system import System
from tests.keys import INBOX, LEDGER

PAUSE_SECONDS, BREATH_SECONDS = 1.8, 0.5

Act = Callable[[System], object]


def _nothing(system: System) -> None:
    pass


class Fault(NamedTuple):
    """`alerts` are those that fire by it. `keep` is repeated until they do."""

    alerts: tuple[str, ...]
    begin: Act = _nothing
    keep: Act = _nothing
    end: Act = _nothing


def _delete_entry(system: System) -> None:
    """A foreign hand removes one of those that wait."""
    with system.client() as client:
        entries: Any = client.xrange(INBOX)
        waiting = [id for id, fields in entries if fields[b"s"] == b"late"]
        assert client.xdel(INBOX, waiting[0]) == 1


def _correct_ledger(system: System) -> None:
    with system.client() as client:
        client.hincrby(LEDGER, "late:appended", -1)


def _pause_writes(system: System) -> None:
    """Has Redis take nothing for a while, and then what has come."""
    with system.client() as client:
        client.execute_command("CLIENT", "PAUSE", round(PAUSE_SECONDS * 1000), "WRITE")
    time.sleep(PAUSE_SECONDS + BREATH_SECONDS)


def _configure_workers(system: System) -> None:
    """They read callbox.toml as they start."""
    system.signal_worker(signal.SIGKILL)


# Those that do not disturb one another begin together. A source is silent against its rhythm only once it has one.
PHASES: Sequence[Sequence[Fault]] = (
    (
        Fault(("CallboxCallbacksLost",), begin=System.restore),
        Fault(
            ("CallboxInboxOld", "CallboxDrainStalled"),
            begin=lambda system: system.signal_worker(signal.SIGSTOP),
            end=lambda system: system.signal_worker(signal.SIGCONT),
        ),
        Fault(("CallboxPostgresAway",), begin=lambda system: system.postgres.kill(), end=System.start_postgres),
        Fault(
            ("CallboxTargetAbsent",),
            begin=lambda system: system.alone.kill(),
            end=lambda system: system.alone.start(),
        ),
        Fault(("CallboxAcknowledgesSlowly",), keep=_pause_writes),
    ),
    (
        # First, before the start of another ingress is a gap in its rhythm.
        Fault(
            ("CallboxSourceSilent",),
            begin=lambda system: system.traffic.names.discard("quiet"),
            end=lambda system: system.traffic.names.add("quiet"),
        ),
        # Its callbacks wait in the inbox, where one of them can be deleted.
        Fault(
            ("CallboxSourceHeld",),
            begin=System.add_source,
            keep=lambda system: system.send("late"),
            end=_configure_workers,
        ),
        Fault(("CallboxLedgerDifference",), begin=_delete_entry, end=_correct_ledger),
        Fault(("CallboxRefusals",), keep=lambda system: [system.send("fleet", secrets=("x" * 40,)) for _ in range(5)]),
        Fault(
            ("CallboxOldSecretUsed",),
            keep=lambda system: system.send("fleet", secrets=system.up.sources["fleet"].secrets[1:]),
        ),
        Fault(
            ("CallboxDeadLetters",),
            begin=System.send_garbage,
            end=lambda system: system.up.command("dead-letters", "discard", "--all"),
        ),
        Fault(
            ("CallboxNotDurable",),
            begin=lambda system: system.set("appendfsync", "everysec"),
            end=lambda system: system.set("appendfsync", "always"),
        ),
        Fault(
            ("CallboxReplicaMissing",),
            begin=lambda system: system.replica.kill(),
            keep=System.send_alone,
            end=lambda system: system.replica.start(),
        ),
    ),
    # The spool takes what Redis cannot, until it is full.
    (
        Fault(
            ("CallboxRedisAway", "CallboxSpoolInUse", "CallboxBudgetBurnsFast", "CallboxBudgetBurnsSlowly"),
            begin=lambda system: system.redis.kill(),
            keep=lambda system: [system.send("fleet") for _ in range(20)],
            end=lambda system: system.redis.start(),
        ),
    ),
)
