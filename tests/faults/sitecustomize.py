"""Read by every Python that has this folder on its path: what no test can wait for, and what no test may overlook.

In a worker a poisoned callback ends the process, as a parser or a library that crashes on one callback would. And the
file `broken` beside callbox.toml names a promise to be broken on purpose, to see that the count tells.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

_worker = "workers.app" in sys.orig_argv and "worker" in sys.orig_argv
_ingress = "ingress" in sys.orig_argv
_broken = ""

if _worker or _ingress:
    _broken = Path(os.environ["CALLBOX_CONFIG"]).with_name("broken").read_text()

if _worker:
    from workers import parse

    _read = parse.read

    def _read_or_die(entry, sources):
        if b"callbox-poison" in entry.packed:
            os.kill(os.getpid(), signal.SIGKILL)
        return _read(entry, sources)

    parse.read = _read_or_die

if _worker and _broken == "entries acknowledged before COMMIT":
    from shared.inbox import Done
    from workers.drain.drainer import Drainer

    _store_patiently = Drainer._store_patiently

    def _acknowledge_and_store(self, parsed, *how):
        self._claimer.acknowledge([Done(it.entry, "stored") for it in parsed])
        time.sleep(0.1)
        return _store_patiently(self, parsed, *how)

    Drainer._store_patiently = _acknowledge_and_store

if _ingress and _broken == "callbacks answered before the commit":
    from ingress.commit import Committer

    _commit = Committer.commit
    _running = set()

    async def _later(self, callback):
        await asyncio.sleep(0.2)
        await _commit(self, callback)

    def _answer_at_once(self, callback):
        task = asyncio.ensure_future(_later(self, callback))
        _running.add(task)
        task.add_done_callback(_running.discard)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    Committer.commit = _answer_at_once
