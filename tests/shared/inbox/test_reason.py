"""What everybody reads while Redis does not do what it is asked: of real servers, from both ends of the inbox."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, NoPermissionError, OutOfMemoryError

from shared import inbox
from shared.inbox import RedisUnavailable
from shared.inbox.errors import unavailable


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of one that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                serve(connection)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)


def said_by_both_ends(url: str) -> set[str]:
    async def append() -> str:
        appender = inbox.Appender(inbox.connect_async(url, 0.3), 100, 5.0)
        try:
            await appender.append([("a", b"1")])
        except RedisUnavailable as error:
            return str(error)
        finally:
            await appender.close()
        return "taken"

    with inbox.connect(url, 0.3) as shard, pytest.raises(RedisUnavailable) as failure:
        inbox.ping(shard)
    return {str(failure.value), asyncio.run(append())}


def test_nobody_listens() -> None:
    assert said_by_both_ends("redis://127.0.0.1:1") == {"Redis does not answer (Connection refused)"}


def test_a_socket_of_unix_that_is_not_there() -> None:
    assert said_by_both_ends("unix:///nowhere/redis.sock") == {"Redis does not answer (No such file or directory)"}


def test_a_name_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert said_by_both_ends("redis://nowhere.example") == {"Redis does not answer (Name or service not known)"}


def test_one_that_hangs() -> None:
    held: list[socket.socket] = []
    with server(held.append) as url:
        assert said_by_both_ends(url) == {"Redis does not answer (timed out)"}
    for connection in held:
        connection.close()


def test_one_that_hangs_up() -> None:
    with server(socket.socket.close) as url:
        said = said_by_both_ends(url)
    assert said <= {f"Redis does not answer ({why})" for why in ("connection closed", "Connection reset by peer")}


def test_one_that_does_not_speak_tls() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.sendall(b"-ERR unknown command\r\n")
        connection.recv(4096)
        connection.close()

    with server(refuse) as url:
        said = said_by_both_ends(url.replace("redis:", "rediss:"))
    assert said == {"Redis does not answer (TLS: wrong version number)"}


@pytest.mark.parametrize("user", ["", "tried:wrong@", ":wrong@"])
def test_a_wrong_password(redis_url: str, user: str) -> None:
    """A refusal, and no outage; nothing of the URL is shown."""
    port = urlsplit(redis_url).port
    assert said_by_both_ends(f"redis://{user}127.0.0.1:{port}") == {"Redis refuses (wrong user or password)"}


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (NoPermissionError("no permissions to run the 'xadd' command"), "Redis refuses (its user lacks a right)"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), "Redis refuses (no memory left)"),
        (RedisConnectionError("max number of clients reached"), "Redis does not answer (too many clients)"),
        (InvalidResponse("Protocol Error: b'HTTP/1.1 400'"), "Redis does not answer (InvalidResponse)"),
    ],
)
def test_what_it_says_is_not_cited(error: Exception, says: str) -> None:
    assert str(unavailable(error)) == says
