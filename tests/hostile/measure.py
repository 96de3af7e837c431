"""Measures one client beside the honest traffic: before the attack, during it, and once it is over."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from deploy.local import simulator
from shared.providers import PROVIDERS
from tests.hostile import attack, children, fuzz
from tests.hostile.client import Client
from tests.hostile.clients import CLIENTS
from tests.hostile.got import Got
from tests.hostile.honest import Honest
from tests.hostile.peer import Closed, connect
from tests.hostile.row import RETURN_BYTES, Latency, Row
from tests.hostile.system import HONEST, System, errors_in, honest_source
from tests.hostile.watch import Watch
from tests.load.client import Answer, encode

LEAD_SECONDS = 0.5  # of honest traffic that is not measured
AFTER_SECONDS = 5.0  # after the attack, memory is measured
AT_MOST_SECONDS = 10.0  # or so much later, when it is not back yet
PROBE_SECONDS = 15.0  # within which a new connection is to be served; a provider's patience
ELSEWHERE = "127.0.0.77"  # the address of the new connection, where the attacker has the honest one


FUZZER_PROBE_SECONDS = 0.5


async def _nothing(attack: attack.Attack) -> None:
    """The fuzzer runs by itself."""


FUZZER = Client("fuzzer", "Requests of every provider, changed before and after they were signed.", _nothing, True)


class Measure:
    """All that measures one system: the honest traffic, the attackers, and the ids of what was accepted."""

    def __init__(self, system: System, seed: int) -> None:
        self._system = system
        self._seed = seed
        self._target = attack.Target(system.port, system.folder / "callbox.toml")
        self._honest = Honest(system.up.url, self._target.configuration, seed)
        self._attackers, _ = children.process()
        self.ids: list[str] = []  # of everything that was acknowledged
        self.honest_count = 0

    async def warm_up(self) -> None:
        """Has both processes begin, and the system serve a little."""
        began = asyncio.wrap_future(self._attackers.submit(time.monotonic))
        self._honest.start()
        await began
        await asyncio.sleep(LEAD_SECONDS)
        self._keep(await self._honest.stop(), {}, [])

    def close(self) -> None:
        self._honest.close()
        self._attackers.shutdown()

    async def clients(
        self, names: Sequence[str], seconds: float, baseline_seconds: float, after_seconds: float = AFTER_SECONDS
    ) -> Row:
        """Runs the clients of these names together."""

        async def attack_together() -> dict[str, Got]:
            running = self._attackers.submit(attack.run, self._target, names, seconds, self._seed)
            return await asyncio.wrap_future(running)

        clients = [CLIENTS[name] for name in names]
        return await self._row(clients, attack_together, baseline_seconds, seconds / 2, after_seconds)

    async def fuzzer(
        self, numbers: Sequence[int], baseline_seconds: float, folder: Path, after_seconds: float = AFTER_SECONDS
    ) -> tuple[Row, fuzz.Found]:
        """Has the fuzzer send the cases of these numbers."""
        found: list[fuzz.Found] = []

        async def send() -> dict[str, Got]:
            running = self._attackers.submit(fuzz.run, self._target, self._seed, numbers, folder)
            found.append(await asyncio.wrap_future(running))
            got = Got(0, outcomes=found[0].outcomes, ids=[*found[0].accepted, *found[0].doubtful_ids])
            return {FUZZER.name: got}

        row = await self._row([FUZZER], send, baseline_seconds, FUZZER_PROBE_SECONDS, after_seconds)
        return row, found[0]

    async def _row(
        self,
        clients: list[Client],
        do: Callable[[], Awaitable[dict[str, Got]]],
        baseline_seconds: float,
        probe_seconds: float,
        after_seconds: float,
    ) -> Row:
        self._honest.start()
        await asyncio.sleep(LEAD_SECONDS)
        began = time.monotonic()
        await asyncio.sleep(baseline_seconds)
        watch = Watch(self._system)
        places = self._system.log_places()
        attacked = time.monotonic()
        probe = asyncio.ensure_future(self._probe(clients, probe_seconds))
        with watch.sampling():
            got = await do()
            ended = time.monotonic()
            probed = await probe
            await self._until_back(watch, after_seconds)
        honest = await self._honest.stop()
        log = self._system.log_since(places)
        self._keep(honest, got, probed.ids)
        after = watch.memory()
        return Row(
            name=", ".join(client.name for client in clients),
            clients=clients,
            seconds=ended - attacked,
            memory={name: (watch.before[name], highest, after[name]) for name, highest in watch.highest.items()},
            without=Latency.of([answer for answer in honest if began <= answer.sent_at < attacked]),
            during=Latency.of([answer for answer in honest if attacked <= answer.sent_at < ended]),
            honest=honest,
            got=got,
            new_connection=next(iter(probed.outcomes), "nothing"),
            log_bytes=len(log),
            log_errors=errors_in(log),
            most_connections=watch.most_connections,
            longest_seconds=watch.longest_seconds,
            ended=watch.has_ended(),
        )

    def _keep(self, honest: list[Answer], got: dict[str, Got], probed: list[str]) -> None:
        self.honest_count += len(honest)
        self.ids += [answer.callback_id for answer in honest if answer.callback_id]
        self.ids += [id for of_one in got.values() for id in of_one.ids]
        self.ids += probed

    async def _probe(self, clients: Sequence[Client], wait_seconds: float) -> Got:
        """Opens a connection in the middle of the attack, and sends a callback over it."""
        await asyncio.sleep(wait_seconds)
        source = self._system.up.sources[honest_source(next(iter(PROVIDERS)))]
        wire = encode(simulator.request(source, simulator.event("mo", datetime.now(UTC), random.Random())))
        taken = any(HONEST in client.addresses for client in clients)
        got = Got(len(wire))
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                peer = await connect(got, self._system.port, ELSEWHERE if taken else HONEST)
                await peer.send(wire)
                with suppress(Closed):
                    await peer.answered()
                peer.close()
        except TimeoutError:
            got.count(f"no answer within {PROBE_SECONDS:g} s")
        except OSError as error:
            got.count(error.strerror or "refused")
        return got

    async def _until_back(self, watch: Watch, after_seconds: float) -> None:
        """Waits for so long, and then until memory is back, at most AT_MOST_SECONDS in all."""
        ends = time.monotonic() + max(AT_MOST_SECONDS, after_seconds)
        await asyncio.sleep(after_seconds)
        while time.monotonic() < ends:
            if all(now <= watch.before[name] + RETURN_BYTES for name, now in watch.memory().items()):
                return
            await asyncio.sleep(0.1)
