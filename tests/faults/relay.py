"""A TCP relay that misbehaves on demand: cuts, delays, swallows, and cuts in the middle of a COMMIT."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

HELD_SECONDS = 0.02  # between two looks whether a peer is still held


class Relay:
    """Between those who connect and one server of this machine."""

    def __init__(
        self, target_port: int, target_host: str = "127.0.0.1", is_held: Callable[[str], bool] = lambda peer: False
    ) -> None:
        """`is_held` says of the address of who connects whether nothing of theirs moves now, as behind a broken link;
        what they sent moves later."""
        self._target = (target_host, target_port)
        self._is_held = is_held
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self.delay_seconds = 0.0  # each way
        self.flows = asyncio.Event()  # not set: half-open, everything stays connected and nothing moves
        self.flows.set()
        self.cut_commits = 0  # number of COMMITs that reach the server while their answers reach nobody
        self.commits_cut = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._serve, host, port)
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.flows.set()
        self._is_held = lambda peer: False
        while self._serving:
            self.cut()
            await asyncio.wait(self._serving, timeout=HELD_SECONDS)

    def cut(self) -> None:
        """Ends every connection without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        peer: str = writer.get_extra_info("peername")[0]
        await self._held(peer)
        try:
            target_reader, target_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, target_writer}
        self._writers |= both
        ways = [
            asyncio.ensure_future(self._pass(reader, target_writer, peer, watched=True)),
            asyncio.ensure_future(self._pass(target_reader, writer, peer, watched=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in both:
            end.transport.abort()
        self._writers -= both

    async def _held(self, peer: str) -> None:
        while self._is_held(peer):
            await asyncio.sleep(HELD_SECONDS)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str, watched: bool) -> None:
        with suppress(OSError):
            while data := await self._read(reader, peer):
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                await self.flows.wait()
                writer.write(data)
                await writer.drain()
                if watched and self.cut_commits and b"COMMIT" in data:
                    self.cut_commits -= 1
                    self.commits_cut += 1
                    await asyncio.sleep(0.02)  # the server commits, and its answer reaches nobody
                    return

    async def _read(self, reader: asyncio.StreamReader, peer: str) -> bytes:
        """What came; nothing at the end of the connection, which is held as well."""
        data = b""
        with suppress(OSError):
            data = await reader.read(1 << 16)
        await self._held(peer)
        return data
