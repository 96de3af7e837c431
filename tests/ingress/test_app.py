"""The whole ingress over a Redis in memory, and as a server starts it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen
from uuid import UUID

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError
from starlette.applications import Starlette
from starlette.routing import Mount

import ingress.app
from deploy.local.supervisor import die_with_parent
from ingress.app import create_app
from shared.callback import unpack
from shared.config import Config
from shared.inbox import Appender, AsyncShard, Ringer, Shards, doorbell
from shared.providers import PROVIDERS
from shared.settings import Settings
from shared.signing import hmac_hex, make_jwt
from shared.source import Source
from tests.conftest import wait_until
from tests.ingress.conftest import NOW, NOWHERE, Answer, ask, running
from tests.keys import INBOX, LEDGER, FakeAsyncShard

ROOT = Path(__file__).parent.parent.parent
SECRET, TOKEN = "s3cret-s3cret-s3cret", "t0ken-t0ken-t0ken"
SOURCES = {
    "fleet": Source("fleet", "emnify", secrets=(SECRET,)),
    "otp": Source("otp", "nxcloud", token=TOKEN),
    "support": Source("support", "messente", secrets=("other", SECRET)),
}
SETTINGS = Settings(append_seconds=20, retry_after_seconds=7, inbox_limit=3, spool_dir=NOWHERE)

Check = Callable[[Any, FakeAsyncShard], Awaitable[None]]


def serve(check: Check, server: FakeServer | None = None, settings: Settings = SETTINGS) -> None:
    """Runs a check on the ingress between its start and its stop."""

    async def run() -> None:
        redis = server or FakeServer()
        client = FakeAsyncShard(server=redis)
        async with running(
            create_app(
                Config(Path("callbox.toml"), settings, SOURCES),
                Shards([Appender(cast(AsyncShard, client), settings.inbox_limit, settings.append_seconds)]),
                Ringer(FakeAsyncRedis(server=redis), lambda: NOW),
                lambda: NOW,
            )
        ) as app:
            await check(app, client)

    asyncio.run(run())


async def rung(client: FakeAsyncShard) -> None:
    """Returns once the doorbell waits for a worker."""
    async with asyncio.timeout(20):
        while await client.llen(doorbell.QUEUE) != 1:
            await asyncio.sleep(0.001)


async def send_emnify(app: Any, body: bytes = b'{"id": 1}') -> Answer:
    headers = [("authorization", f"Bearer {make_jwt(SECRET, {})}"), ("content-type", "application/json")]
    return await ask(app, "/callbacks/fleet", headers=headers, body=body)


async def send_nxcloud(app: Any, body: bytes = b"messageid=1") -> Answer:
    return await ask(app, f"/callbacks/otp/{TOKEN}", body=body)


async def send_messente(app: Any, body: bytes = b"{}") -> Answer:
    headers = [("x-messente-signature", hmac_hex(SECRET, body))]
    return await ask(app, "/callbacks/support", headers=headers, body=body)


SEND = {"emnify": send_emnify, "nxcloud": send_nxcloud, "messente": send_messente}


async def accepted_again(app: Any) -> None:
    """Returns once a callback is accepted, however long the breaker takes to notice."""
    async with asyncio.timeout(20):
        while (await send_nxcloud(app)).status != 200:
            await asyncio.sleep(0.01)


# Accepted


async def entries(client: FakeAsyncShard) -> list[dict[bytes, bytes]]:
    """The fields of the entries in the inbox."""
    found: Any = await client.xrange(INBOX)
    return [fields for _, fields in found]


@pytest.mark.parametrize("provider", SEND)
def test_a_proven_callback_lies_in_the_inbox_under_the_id_of_its_answer(provider: str) -> None:
    body = b'{"broken": \xff\0'  # nothing of it is parsed here

    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await SEND[provider](app, body)
        reply = PROVIDERS[provider].REPLY
        assert (answer.status, answer.body) == (reply.status, reply.body)
        (fields,) = await entries(client)
        callback = unpack(fields[b"c"])
        assert answer.header("x-callbox-id") == str(callback.id)
        assert callback.id.version == 7
        assert fields[b"s"].decode() == callback.source
        assert (callback.provider, callback.received_at, callback.body) == (provider, NOW, body)
        assert await client.hgetall(LEDGER) == {f"{callback.source}:appended".encode(): b"1"}
        await rung(client)

    serve(check)


@pytest.mark.parametrize("provider", SEND)
def test_no_proof_is_kept_in_redis(provider: str) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        assert (await SEND[provider](app)).status == 200
        assert (await ask(app, "/callbacks/otp", query=f"token={TOKEN}&a=1")).status == 200
        kept = repr(await client.xrange(INBOX)) + repr(await client.lrange(doorbell.QUEUE, 0, -1))
        for proof in (SECRET, TOKEN, "Bearer", "eyJ", "signature", hmac_hex(SECRET, b"{}")):
            assert proof not in kept

    serve(check)


def test_many_requests_at_once_are_all_kept_each_under_its_own_id_in_few_appends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        await send_nxcloud(app)  # now Redis knows the script
        await client.delete(INBOX)
        evalsha, appends = client.evalsha, []

        def count(*args: Any) -> Any:
            appends.append(args)
            return evalsha(*args)

        monkeypatch.setattr(client, "evalsha", count)
        answers = await asyncio.gather(*(send_nxcloud(app, b"messageid=%d" % number) for number in range(200)))
        assert {answer.status for answer in answers} == {200}
        kept = [unpack(fields[b"c"]) for fields in await entries(client)]
        ids = {UUID(answer.header("x-callbox-id")): b"messageid=%d" % number for number, answer in enumerate(answers)}
        assert {callback.id: callback.body for callback in kept} == ids
        assert len(kept) == 200
        assert len(appends) <= 2
        await rung(client)

    serve(check, settings=Settings(append_seconds=20, spool_dir=NOWHERE))


# Refused


def test_when_the_inbox_is_full_callbacks_are_refused_and_not_kept() -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        statuses = [(await send_nxcloud(app)).status for _ in range(5)]
        assert statuses == [200, 200, 200, 503, 503]
        assert await client.xlen(INBOX) == 3

    serve(check)


@pytest.mark.parametrize(
    "error",
    [
        ReadOnlyError("You can't write against a read only replica."),
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ResponseError("MISCONF Errors writing to the AOF file"),
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ConnectionResetError(),
        RuntimeError("a fault"),
    ],
    ids=lambda value: str(value)[:10] or type(value).__name__,
)
def test_whatever_redis_says_the_provider_is_asked_to_send_again(
    error: Exception, monkeypatch: pytest.MonkeyPatch, log_entries: list[dict[str, Any]]
) -> None:
    async def fail(*args: Any, **keys: Any) -> None:
        raise error

    async def check(app: Any, client: FakeAsyncShard) -> None:
        as_before = client.evalsha
        monkeypatch.setattr(client, "evalsha", fail)
        for provider, send in SEND.items():
            answer = await send(app)
            assert (answer.status, answer.header("retry-after")) == (503, "7")
            assert answer.header("x-callbox-id") is None
            assert answer.body == PROVIDERS[provider].REPLY.error or answer.error
        monkeypatch.setattr(client, "evalsha", as_before)
        await accepted_again(app)

    serve(check)
    assert 1 <= [event["event"] for event in log_entries].count("not durable") < len(SEND), "one for each kind"
    assert "a fault" not in "".join(str(event["why"]) for event in log_entries if "why" in event)


def test_it_starts_while_redis_is_away_and_accepts_when_it_is_back() -> None:
    server = FakeServer()
    server.connected = False

    async def check(app: Any, client: FakeAsyncShard) -> None:
        refused = await send_nxcloud(app)
        assert (refused.status, refused.body, refused.header("retry-after")) == (503, b"error", "7")
        server.connected = True
        await accepted_again(app)
        assert await client.xlen(INBOX) == 1

    serve(check, server)


def test_when_redis_hangs_the_provider_is_asked_to_send_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*args: Any, **keys: Any) -> None:
        await asyncio.Event().wait()

    async def check(app: Any, client: FakeAsyncShard) -> None:
        as_before = client.evalsha
        monkeypatch.setattr(client, "evalsha", hang)
        answers = await asyncio.gather(*(send_nxcloud(app) for _ in range(3)))
        assert [(answer.status, answer.body) for answer in answers] == [(503, b"error")] * 3
        monkeypatch.setattr(client, "evalsha", as_before)
        await accepted_again(app)

    serve(check, settings=Settings(append_seconds=0.02, spool_dir=NOWHERE))


# Other addresses


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("", "GET"),  # of a proxy's request, "GET http://host HTTP/1.1"
        ("/", "GET"),
        ("//callbacks/fleet", "POST"),
        ("/callbacks", "POST"),
        ("/callbacks/", "POST"),
        ("/callbacks/fleet/token/more", "POST"),
        ("/callbacks//token", "POST"),
        ("/callbacks/fleet//", "POST"),
        (f"/callbacks/otp/{TOKEN}//", "POST"),
        ("/callbacks%2Ffleet", "POST"),
        ("/healthz/", "GET"),
        ("/docs", "GET"),
    ],
)
def test_any_other_address_is_not_found_in_one_line_of_json(path: str, method: str) -> None:
    """Nor is anyone sent elsewhere: a redirect would name the token once more, and forget that there was TLS."""

    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, path, method)
        assert answer.status == 404
        assert answer.error
        assert answer.header("location") is None
        assert await client.keys() == []

    serve(check)


def test_it_works_as_a_part_of_another_application() -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        whole = Starlette(routes=[Mount("/sms", app)])
        assert (await ask(whole, f"/sms/callbacks/otp/{TOKEN}", body=b"messageid=1")).status == 200
        assert (await ask(whole, "/sms/healthz", "GET")).status == 200
        assert (await ask(whole, f"/sms/sms/callbacks/otp/{TOKEN}", body=b"messageid=1")).status == 404

    serve(check)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_the_probes_are_only_read(path: str, method: str) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        answer = await ask(app, path, method)
        assert answer.status == 405
        assert answer.error
        assert set((answer.header("allow") or "").split(", ")) == {"GET", "HEAD"}

    serve(check)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_the_probes_answer_here(path: str) -> None:
    async def check(app: Any, client: FakeAsyncShard) -> None:
        assert (await ask(app, path, "GET")).status == 200

    serve(check)


# As a server starts it


def test_nothing_is_read_before_a_server_asks_for_the_application() -> None:
    assert "app" not in vars(ingress.app)
    with pytest.raises(AttributeError):
        ingress.app.application  # noqa: B018 - that it is not there is the point


UVICORN = [sys.executable, "-m", "uvicorn", "ingress.app:app"]


def environment(**options: str) -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("CALLBOX_", "PROMETHEUS_"))
    } | options


def test_a_wrong_configuration_is_reported_in_full_and_ends_with_2_before_anything_listens(folder: Path) -> None:
    path = folder / "callbox.toml"
    path.write_text('[sources.fleet]\nprovider = "emnify"\nsecrets = ["${NONE}"]\n[sources.otp]\nprovider = "nobody"\n')
    environ = environment(CALLBOX_CONFIG=str(path), CALLBOX_BODY_SECONDS="soon", PYTHONPATH=str(ROOT))
    ended = subprocess.run([*UVICORN, "--port=0"], env=environ, cwd=folder, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        "CALLBOX_BODY_SECONDS: 'soon' is not a number (time for a provider to send its body)",
        f"{path}: sources.fleet.secrets[0]: the environment variable NONE is not set",
        f"{path}: sources.otp.provider: 'nobody' is not one of {', '.join(PROVIDERS)}",
    ]


def test_a_server_without_redis_starts_keeps_in_its_spool_and_logs_no_token_and_no_number(folder: Path) -> None:
    path = folder / "callbox.toml"
    path.write_text(f'[sources.otp]\nprovider = "nxcloud"\ntoken = "{TOKEN}"\n')
    with socket.socket() as listener, (folder / "log").open("w+") as log, socket.socket() as nobody:
        for socket_ in (listener, nobody):
            socket_.bind(("127.0.0.1", 0))  # nobody listens behind the second
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        away = f"redis://127.0.0.1:{nobody.getsockname()[1]}/0"
        process = subprocess.Popen(
            [*UVICORN, "--fd", str(listener.fileno())],  # its access log is on, as by default
            env=environment(CALLBOX_CONFIG=str(path), CALLBOX_REDIS_URL=away, PYTHONPATH=str(ROOT)),
            cwd=folder,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(),),
            preexec_fn=die_with_parent,
        )
        try:
            wait_until(lambda: fetch(f"{url}/healthz") == (200, b"ok\n"), "the ingress")
            assert fetch(f"{url}/callbacks/otp/{TOKEN}?phone=%2B4915112345678") == (200, b"success")
            assert fetch(f"{url}/callbacks/otp?token={TOKEN}", b"phone=4915112345678") == (200, b"success")
            assert fetch(f"{url}/callbacks/otp/wrong-{TOKEN}")[0] == 404
        finally:
            process.terminate()
            assert process.wait(20) in (0, -15)
        log.seek(0)
        written = log.read()
    assert TOKEN not in written
    assert "4915112345678" not in written
    events = [json.loads(line)["event"] for line in written.splitlines()]
    assert {"ingress started", "keeping callbacks in the spool", "ingress stopped"} <= set(events)


def fetch(url: str, body: bytes | None = None) -> tuple[int, bytes]:
    try:
        with urlopen(Request(url, body), timeout=20) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()
    except URLError:
        return 0, b""
