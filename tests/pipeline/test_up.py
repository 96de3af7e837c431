"""`callbox up`: what it promises of its processes and its files."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from deploy.local import logfile
from tests.conftest import wait_until
from tests.pipeline.conftest import SECONDS, SOURCES, Running, Start, alive, callbox, family, http

NAMES = ["ingress-1", "worker-1", "beat", "flower", "redis", "postgres"]
# What a process had claimed or asked for before its end is soon another one's.
SOON = {"CALLBOX_STATEMENT_SECONDS": "1", "CALLBOX_RECLAIM_SECONDS": "2", "CALLBOX_BEAT_SECONDS": "1"}


def gone(pids: set[int]) -> bool:
    return not any(map(alive, pids))


def accepts(up: Running) -> bool:
    """Whether a callback goes all the way. Until then it is refused as our failure, not as the provider's."""
    (answer,) = up.answers(up.request("open", "mo"))
    assert answer.status in (0, 200, 503)
    return answer.status == 200


def test_it_writes_where_everything_is(system: Running) -> None:
    assert set(system.addresses) >= {
        "CALLBOX_URL",
        "CALLBOX_ADMIN_URL",
        "CALLBOX_WORKER_ADMIN_URL",
        "CALLBOX_BEAT_ADMIN_URL",
        "CALLBOX_REDIS_URL",
        "CALLBOX_DATABASE_URL",
        "FLOWER_URL",
    }
    *overview, ready = system.output.strip().splitlines()
    assert ready == f"ready {system.url}"
    assert f"callbacks  {system.url}/callbacks/otp/<token>   (nxcloud)" in overview
    assert f"metrics    {system.admin_url}/metrics   (of the ingress)" in overview
    assert set(system.pids) == {*NAMES, "ingress-2"}
    assert all(map(alive, system.pids.values()))
    for path in system.data.rglob("*"):
        with suppress(FileNotFoundError):  # some come and go
            assert path.stat().st_mode & 0o077 == 0, f"others may read {path}"
    # Under root PostgreSQL's user passes through the folder; nobody lists it.
    assert system.data.stat().st_mode & 0o777 == (0o711 if os.geteuid() == 0 else 0o700)


def test_a_process_finds_in_its_environment_what_it_needs_and_no_secret_beside(start: Start) -> None:
    sources = '[sources.open]\nprovider = "emnify"\nsecrets = ["${CALLBOX_SECRET}"]\n'
    up = start(
        sources=sources,
        is_forked=False,  # what is looked at here shows the one that forked
        is_first=True,
        CALLBOX_SECRET="secret-of-a-source",
        CALLBOX_LOG_LEVEL="debug",
        FOREIGN="secret-of-a-stranger",
        PGPASSFILE="/nonexistent",
        PYTHONHASHSEED="1",
        FLOWER_BASIC_AUTH="operator:secret-of-flower",
        FLOWER_PORT="tcp://10.96.0.7:5555",  # what Kubernetes says of a service called `flower`
    )
    redis_password = urlsplit(up.addresses["CALLBOX_REDIS_URL"]).password
    postgres_password = urlsplit(up.addresses["CALLBOX_DATABASE_URL"]).password
    assert redis_password != postgres_password
    traces = {
        "source": "secret-of-a-source",
        "stranger": "secret-of-a-stranger",
        "redis": redis_password,
        "database": postgres_password,
        "libpq": "/nonexistent",
        "flower": "secret-of-flower",
        "ours": "CALLBOX_LOG_LEVEL=debug",
        "python": "PYTHONHASHSEED=1",
    }
    ours = {"redis", "ours", "python"}
    for name, expected in {
        "ingress-1": {*ours, "source"},
        "worker-1": {*ours, "source", "database", "libpq"},
        "beat": {*ours, "database", "libpq"},
        "flower": {*ours, "flower"},
        "redis": set(),
        "postgres": set(),
    }.items():
        for pid in family(up.pids[name]):
            with suppress(FileNotFoundError, ProcessLookupError):  # connections of PostgreSQL's come and go
                environ, command = (
                    Path(f"/proc/{pid}/{file}").read_text(errors="replace") for file in ("environ", "cmdline")
                )
                assert {what for what, trace in traces.items() if str(trace) in environ} == expected, (name, pid)
                assert [what for what, trace in traces.items() if str(trace) in command] == [], (name, pid)
    children = {child.pid for child in psutil.Process(up.process.pid).children()}
    assert children == set(up.pids.values()), "some were not looked at"


def test_its_processes_may_open_as_many_files_as_the_system_lets_them(start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        up = start("--no-flower")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    for name, pid in up.pids.items():
        line = re.search(r"^Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
        assert line, name
        assert int(line[1]) == most, name


def test_a_log_does_not_grow_without_bound(start: Start) -> None:
    up = start("--no-flower", "--workers", "0")
    with (up.data / "logs" / "ingress-1.log").open("ab") as log:
        log.write(b"an old line\n" * (logfile.LOG_BYTES // 12 + 1))
    wait_until(lambda: (up.data / "logs" / "ingress-1.log").stat().st_size == 0, "the log moved aside")
    assert (up.data / "logs" / "ingress-1.log.1").read_bytes().endswith(b"an old line\n")
    os.kill(up.pids["ingress-1"], signal.SIGTERM)  # which it says, into the same file
    wait_until(lambda: b"ingress stopped" in (up.data / "logs" / "ingress-1.log").read_bytes(), "a line after")
    assert b"\0" not in (up.data / "logs" / "ingress-1.log").read_bytes()


def test_whatever_dies_is_started_again_and_nothing_acknowledged_is_lost(start: Start) -> None:
    up = start(**SOON)
    before = up.pids
    assert set(before) == set(NAMES)

    def restarted(name: str) -> bool:
        return up.pids.get(name, before[name]) != before[name]

    sent = []
    for name in NAMES:
        sent += up.send(*(up.request("otp", "dr") for _ in range(20)))
        os.kill(up.pids[name], signal.SIGKILL)
        wait_until(partial(restarted, name), f"{name} again", SECONDS)
        wait_until(lambda: accepts(up), f"a callback accepted after {name} died", SECONDS)

    def stored() -> set[str]:
        with suppress(psycopg.OperationalError):  # it was killed last and may still be starting
            return {str(row["id"]) for row in up.query("SELECT id FROM callbacks WHERE source = 'otp'")}
        return set()

    wait_until(lambda: len(stored()) >= len(sent), "every callback in PostgreSQL", SECONDS)
    assert stored() == set(sent)
    assert all(map(alive, up.pids.values()))
    assert "worker-1 was ended by SIGKILL; starting it again" in up.output
    assert up.stop() == 0


def test_while_redis_hangs_callbacks_are_spooled_and_none_is_lost_with_its_ingress(start: Start) -> None:
    up = start("--ingress", "2", "--no-flower", CALLBOX_APPEND_SECONDS="0.25")
    redis, ingress = up.pids["redis"], up.pids["ingress-1"]
    os.kill(redis, signal.SIGSTOP)
    ids = up.send(*(up.request("otp", "dr") for _ in range(20)))
    os.kill(ingress, signal.SIGKILL)
    wait_until(lambda: up.pids.get("ingress-1", ingress) != ingress, "ingress-1 again", SECONDS)
    ids += up.send(*(up.request("otp", "dr") for _ in range(20)))
    os.kill(redis, signal.SIGCONT)
    wait_until(lambda: len(up.query("SELECT FROM callbacks")) == 40, "every callback in PostgreSQL", SECONDS)
    assert {str(row["id"]) for row in up.query("SELECT id FROM callbacks")} == set(ids)

    def settled() -> bool:
        account = json.loads(up.command("status", "--json").stdout)
        return bool(account["accepted"] == account["stored"] == 40 and account["spooled"] == 0)

    wait_until(settled, "a ledger that adds up", SECONDS)


def test_a_worker_that_lives_and_consumes_nothing_is_replaced(start: Start) -> None:
    up = start("--no-flower", **SOON, CALLBOX_STALL_SECONDS="3")
    worker = up.pids["worker-1"]
    for pid in family(worker):
        os.kill(pid, signal.SIGSTOP)
    (id,) = up.send(up.request("otp", "dr"))
    wait_until(lambda: up.pids.get("worker-1", worker) != worker, "another worker", SECONDS)
    up.wait_drained()
    assert [str(row["id"]) for row in up.query("SELECT id FROM callbacks")] == [id]
    assert "worker-1 is stalled: no drain was active" in up.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_it_with_0_and_nothing_is_left(start: Start, number: signal.Signals) -> None:
    up = start("--no-flower")
    pids = family(up.process.pid)
    ids = up.send(*(up.request("open", "mo") for _ in range(50)))
    up.process.send_signal(number)
    assert up.process.wait(SECONDS) == 0
    assert gone(pids)
    assert up.output.splitlines()[-1] == "stopping…"
    assert not (up.data / "env").exists()
    assert not (up.data / "pids.json").exists()
    again = start("--no-flower", "--ingress", "0", "--workers", "0")
    assert {str(row["id"]) for row in again.query("SELECT id FROM callbacks")} == set(ids)


def test_killed_it_leaves_no_process_and_the_next_goes_on(start: Start) -> None:
    up = start("--workers", "0")
    ids = up.send(*(up.request("open", "mo") for _ in range(20)))
    pids = family(up.process.pid)
    assert len(pids) > 6
    up.process.kill()
    up.process.wait()
    wait_until(lambda: gone(pids), "the end of every process", SECONDS)
    again = start("--workers", "1")
    wait_until(again.drained, "an empty inbox", SECONDS)
    assert {str(row["id"]) for row in again.query("SELECT id FROM callbacks")} == set(ids)


def has(folder: Path, pattern: str) -> bool:
    return any(folder.glob(pattern))


def test_an_interrupted_first_start_is_no_obstacle_to_the_next(start: Start, tmp_path: Path) -> None:
    for sign in ("postgres.new.*", "postgres.new.*/global/pg_control"):  # initdb begins; it is nearly done
        up = Running(tmp_path, "--no-flower", is_forked=True)
        try:
            wait_until(partial(has, up.data, sign), "PostgreSQL being prepared", SECONDS)
            assert not (up.data / "postgres").exists()
        finally:
            up.process.kill()
            up.process.wait()
    up = start("--no-flower", is_first=True)
    assert not list(up.data.glob("postgres.new.*"))
    up.send(up.request("open", "mo"))
    up.wait_drained()
    assert len(up.query("SELECT FROM callbacks")) == 1


def test_a_folder_of_a_development_version_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "var" / "postgres"
    folder.mkdir(parents=True)
    (folder / "PG_VERSION").write_text("18\n")
    (folder / "pg_hba.conf").write_text("host all all 127.0.0.1/32 scram-sha-256\n")
    (tmp_path / "callbox.toml").write_text(SOURCES)
    done = callbox("up", "--port", "0", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"{folder} was made by a development version" in done.stderr
    assert "give another --data" in done.stderr
    assert (folder / "PG_VERSION").exists()


def test_without_workers_callbacks_wait_and_without_ingress_they_are_drained(start: Start) -> None:
    up = start("--workers", "0", "--no-flower")
    assert "worker-1" not in up.pids
    up.send(up.request("open", "mo"))
    assert not up.drained()
    assert up.stop() == 0
    again = start("--ingress", "0", "--no-flower")
    assert not any(name.startswith("ingress") for name in again.pids)
    wait_until(again.drained, "an empty inbox", SECONDS)


def test_a_frozen_ingress_holds_up_nobody(system: Running) -> None:
    os.kill(system.pids["ingress-1"], signal.SIGSTOP)
    try:
        assert all(http(system.admin_url + "/healthz")[0] == 200 for _ in range(20))
    finally:
        os.kill(system.pids["ingress-1"], signal.SIGCONT)


def test_it_uses_the_servers_that_the_environment_names(start: Start, redis_url: str, empty_database_url: str) -> None:
    up = start("--no-flower", CALLBOX_REDIS_URL=redis_url, CALLBOX_DATABASE_URL=empty_database_url)
    assert not {"redis", "postgres"} & set(up.pids)
    assert (up.addresses["CALLBOX_REDIS_URL"], up.addresses["CALLBOX_DATABASE_URL"]) == (redis_url, empty_database_url)
    up.send(up.request("open", "mo"))
    up.wait_drained()
    assert len(up.query("SELECT FROM callbacks")) == 1


IMPATIENT = (
    "from deploy.commands import main; from deploy.local import up;"
    " up.READY_SECONDS, up.HINT_SECONDS = 0.3, 0.0; main.main()"
)


def test_a_named_server_that_is_away_is_named_with_the_cause_and_the_setting(
    tmp_path: Path, redis_url: str, empty_database_url: str
) -> None:
    def said(*urls: str) -> tuple[str, str]:
        environment = {**os.environ, **dict(zip(("CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL"), urls, strict=True))}
        command = [sys.executable, "-c", IMPATIENT, "up", "--port", "0"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        return done.stdout, done.stderr

    (tmp_path / "callbox.toml").write_text(SOURCES)
    why = "(shard 1 at 127.0.0.1:1: Redis does not answer (Connection refused)): is CALLBOX_REDIS_URL right?\n"
    assert said(f"{redis_url} redis://127.0.0.1:1", empty_database_url) == (
        f"waiting for Redis {why}",
        f"callbox: Redis did not come up in 0.3 s {why}",
    )
    hint, failure = said(redis_url, "postgresql://127.0.0.1:1/callbox")
    assert hint.startswith("waiting for PostgreSQL (connection failed: ")
    assert failure.startswith("callbox: PostgreSQL did not come up in 0.3 s (connection failed: ")
    assert failure.endswith("Connection refused): is CALLBOX_DATABASE_URL right?\n")


def test_a_taken_port_says_so_and_how_to_choose_another(system: Running) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = callbox("up", "--port", str(port), "--data", "other", cwd=system.folder)
    assert done.returncode == 1
    assert f"port {port} cannot be used (Address already in use)" in done.stderr
    assert "make run PORT=" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_second_one_in_the_same_folder_is_refused(system: Running) -> None:
    done = callbox("up", "--port", "0", cwd=system.folder)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert f"another Callbox runs already at {system.url}, over {system.data}" in done.stderr


def test_a_wrong_configuration_lists_every_mistake_and_starts_nothing(system: Running) -> None:
    (system.folder / "wrong.toml").write_text(
        '[sources.a]\nprovider = "nobody"\n[sources.b]\nprovider = "emnify"\nsecrets = ["${NOT_SET}"]\nx = 1\n'
    )
    done = callbox("up", "--config", "wrong.toml", "--data", "never", cwd=system.folder)
    assert done.returncode == 2
    for said in ("sources.a.provider: 'nobody'", "NOT_SET is not set", "sources.b.x: unknown key"):
        assert said in done.stderr
    assert not (system.folder / "never").exists()
