"""What others ask of a running ingress."""

import asyncio
import errno
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from fakeredis import FakeServer
from redis.asyncio.client import Pipeline
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from starlette.applications import Starlette
from starlette.routing import Route

from ingress.keeper import Keeper
from ingress.probes import Probes
from ingress.spools import Spools
from ingress.stop import Stop
from shared.callback import pack
from shared.config import Config
from shared.current import Current
from shared.demands import Watch
from shared.fingerprint import of_sources
from shared.inbox import Appender, AsyncShard, Shards
from shared.inbox.reports import Report
from shared.settings import Settings
from tests.ingress.conftest import NOWHERE, NoBroker, a_callback, ask
from tests.keys import INBOX, PROBE, UNMET, FakeAsyncShard

NO_SPOOL = f"the spool cannot be made in {NOWHERE} (Not a directory)"

GOOD = {
    "ready": True,
    "stopping": False,
    "redis": "ok",
    "spool": "ok",
    "replicas": "ok",
    "durability": "ok",
    "configuration": of_sources([]),
    "workers": "ok",
}


def never() -> Config:
    raise AssertionError("nobody asked for it")


def probe(
    check: Callable[[Any, FakeAsyncShard], Awaitable[None]],
    limit: int = 1,
    spool: Path = Path(NOWHERE),
    watch: Watch | None = None,
    stop: Stop | None = None,
    **options: Any,
) -> None:
    """Runs a check on an ingress that is nothing but its probes, over a Redis in memory."""

    async def run() -> None:
        async with FakeAsyncShard(**options) as client:
            inbox = Shards([Appender(cast(AsyncShard, client), limit, 5.0)])
            settings = Settings(spool_dir=str(spool), spool_bytes=1 << 20, retry_after_seconds=7)
            spools = Spools(settings)
            keeper = Keeper(inbox, spools, NoBroker(), settings)
            current = Current(Config(Path("callbox.toml"), settings, {}), never)
            probes = Probes(inbox, keeper, watch or Watch(), stop or Stop(), current, settings)
            routes = [Route(f"/{name}", getattr(probes, name)) for name in ("healthz", "readyz", "metrics")]
            await check(Starlette(routes=routes), client)
            await spools.close()

    asyncio.run(run())


def away() -> FakeServer:
    server = FakeServer()
    server.connected = False
    return server


@pytest.mark.parametrize("options", [{}, {"server": away()}], ids=["up", "away"])
def test_it_is_alive_whether_redis_is_or_not(options: dict[str, Any]) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, "/healthz", "GET")
        assert (answer.status, answer.body) == (200, b"ok\n")

    probe(check, **options)


def test_it_is_ready_while_redis_takes_callbacks_and_leaves_no_trace_in_the_inbox() -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, "/readyz", "GET")
        assert (answer.status, json.loads(answer.body)) == (200, {**GOOD, "spool": NO_SPOOL})
        assert await client.keys() == [PROBE.encode()]

    probe(check)


def test_it_says_which_promises_cannot_be_kept_and_is_ready_all_the_while(tmp_path: Path) -> None:
    watch = Watch()
    watch.note("redis", ["appendfsync is everysec", "is a replica"])

    async def check(app: Any, client: FakeAsyncShard) -> None:
        now = (await client.time())[0]
        report = Report(now, {"postgresql": ["fsync is off"]})
        old = Report(now - 3600, {"postgresql": ["is not migrated"]})
        encode = msgspec.json.encode
        await client.hset(UNMET, mapping={"worker-host": encode(report), "gone": encode(old)})
        answer = await ask(app, "/readyz", "GET")
        assert (answer.status, json.loads(answer.body)) == (
            200,
            {
                **GOOD,
                "durability": "redis appendfsync is everysec; redis is a replica",
                "workers": "worker-host: postgresql fsync is off",
            },
        )

    probe(check, spool=tmp_path, watch=watch)


def test_it_is_not_ready_once_it_stops_whatever_would_take_a_callback(tmp_path: Path) -> None:
    stop = Stop()

    async def check(app: Any, client: FakeAsyncShard) -> None:
        assert (await ask(app, "/readyz", "GET")).status == 200
        stop.has_begun = True
        answer = await ask(app, "/readyz", "GET")
        assert (answer.status, answer.header("retry-after")) == (503, "7")
        assert json.loads(answer.body) == {**GOOD, "ready": False, "stopping": True}
        assert (await ask(app, "/healthz", "GET")).status == 200

    probe(check, spool=tmp_path, stop=stop)


def test_it_is_not_ready_while_redis_is_away_and_says_so() -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, "/readyz", "GET")
        assert (answer.status, answer.header("retry-after")) == (503, "7")
        said = json.loads(answer.body)
        assert said == {
            **GOOD,
            "ready": False,
            "redis": "Redis does not answer (connection closed)",
            "spool": NO_SPOOL,
        }

    probe(check, server=away())


def test_it_is_ready_while_redis_is_away_and_the_spool_takes_callbacks(tmp_path: Path) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, "/readyz", "GET")
        said = {**GOOD, "redis": "Redis does not answer (connection closed)"}
        assert (answer.status, json.loads(answer.body)) == (200, said)

    probe(check, spool=tmp_path, server=away())
    assert list(tmp_path.iterdir()) == [], "an empty file was left behind"


def test_it_is_not_ready_while_the_inbox_is_full_and_is_again_when_it_is_not() -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        await Appender(cast(AsyncShard, client), 1, 5.0).append([("fleet", pack(a_callback()))])
        answer = await ask(app, "/readyz", "GET")
        assert (answer.status, json.loads(answer.body)["redis"]) == (503, "the inbox holds as many callbacks as it may")
        await client.delete(INBOX)
        assert (await ask(app, "/readyz", "GET")).status == 200

    probe(check)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ReadOnlyError("You can't write against a read only replica."), "Redis refuses (ReadOnlyError)"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "Redis refuses (no memory left)"),
        (ResponseError("MISCONF Errors writing to the AOF file"), "Redis refuses (ResponseError)"),
        (ConnectionResetError(errno.ECONNRESET, ""), "Redis does not answer (Connection reset by peer)"),
    ],
)
def test_it_is_not_ready_while_redis_takes_no_writes(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script alone does not show it: with no callback to append it writes nothing."""

    def refuse(*args: Any, **keys: Any) -> None:
        raise error

    async def check(app: Any, client: FakeAsyncShard) -> None:
        monkeypatch.setattr(Pipeline, "set", refuse)
        answer = await ask(app, "/readyz", "GET")
        assert answer.status == 503
        assert json.loads(answer.body)["redis"] == says

    probe(check)


@pytest.mark.parametrize("options", [{}, {"server": away()}], ids=["up", "away"])
def test_the_metrics_are_those_of_the_process_whether_redis_is_there_or_not(options: dict[str, Any]) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, "/metrics", "GET")
        assert answer.status == 200
        assert answer.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
        lines = answer.body.decode().splitlines()
        assert any(line.startswith("callbox_group_callbacks_bucket") for line in lines)
        assert not any(line.startswith(("callbox_appended", "callbox_inbox", "callbox_redis_up")) for line in lines)

    probe(check, **options)
