"""Redis over TLS: `rediss://`, for ingress and workers, with a certificate of one's own."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from redis.exceptions import RedisError

from shared import inbox
from shared.inbox import RedisUnavailable

UNTRUSTED = r"^Redis does not answer \(its certificate: self-signed certificate\)$"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(made)),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


@contextmanager
def tls_before(redis_url: str, certificate: Path, key: Path) -> Iterator[int]:
    """A port that speaks TLS, behind which this Redis is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    ready, ports = threading.Event(), list[int]()
    loop = asyncio.new_event_loop()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = urlsplit(redis_url)
        far_reader, far_writer = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer), return_exceptions=True)
        for each in (writer, far_writer):
            each.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
        ready.set()
        async with server:
            await stop.wait()
        await asyncio.sleep(0.1)  # what was served ends

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=[run()], daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()


def trusted_url(redis_url: str, port: int, certificate: Path) -> str:
    address = urlsplit(redis_url)
    user = f"{address.netloc.rpartition('@')[0]}@" if "@" in address.netloc else ""
    return f"rediss://{user}127.0.0.1:{port}{address.path}?ssl_ca_certs={quote(str(certificate), safe='')}"


def test_both_ends_of_the_inbox_speak_tls_and_check_the_certificate(
    redis_url: str, certificate: tuple[Path, Path]
) -> None:
    async def append(url: str) -> None:
        appender = inbox.Appender.connect(url, 100, 5.0)
        try:
            await appender.append([("a", b"1")])
        finally:
            await appender.close()

    with tls_before(redis_url, *certificate) as port:
        trusted = trusted_url(redis_url, port, certificate[0])
        plain = trusted.partition("?")[0]
        asyncio.run(append(trusted))
        with inbox.connect(trusted, 5.0) as shard:
            (entry,) = inbox.Consumer(shard, "one").claim(1, 0.01)
        assert entry.packed == b"1"
        with pytest.raises(RedisUnavailable, match=UNTRUSTED):
            asyncio.run(append(plain))
        with inbox.connect(plain, 5.0) as shard, pytest.raises(RedisUnavailable, match=UNTRUSTED):
            inbox.ping(shard)
        unchecked = f"{plain}?ssl_cert_reqs=none&ssl_check_hostname=false"
        with inbox.connect(unchecked, 5.0) as shard:
            assert inbox.ping(shard)


def test_who_writes_while_a_connection_is_cut_does_not_write_plainly(
    redis_url: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may do so before the socket is shut."""
    with (
        tls_before(redis_url, *certificate) as port,
        inbox.connect(trusted_url(redis_url, port, certificate[0]), 5.0) as shard,
    ):
        connection: Any = shard.connection_pool.get_connection()
        monkeypatch.setattr(socket.socket, "shutdown", lambda *_: None)
        connection.cut()
        connection.send_command("PING")
        answered = None
        with suppress(RedisError):
            answered = connection.read_response()
        monkeypatch.undo()
        shard.connection_pool.release(connection)
    assert answered == b"PONG"
