"""A TCP relay that misbehaves on demand: cuts, delays, swallows, and cuts in the middle of a COMMIT."""

import asyncio
from contextlib import suppress


class Relay:
    """Between the workers or the ingress and one server of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.delay_seconds = 0.0  # each way
        self.flows = asyncio.Event()  # not set: half-open, everything stays connected and nothing moves
        self.flows.set()
        self.cut_commits = 0  # number of COMMITs that reach the server while their answers reach nobody
        self.commits_cut = 0

    async def start(self) -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.flows.set()
        self.cut()

    def cut(self) -> None:
        """Ends every connection without a word."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, target_writer}
        self._writers |= both
        ways = [
            asyncio.ensure_future(self._pass(reader, target_writer, watched=True)),
            asyncio.ensure_future(self._pass(target_reader, writer, watched=False)),
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in both:
            end.transport.abort()
        self._writers -= both

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watched: bool) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
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
