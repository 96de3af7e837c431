"""Read by every Python that has this folder on its path: what no test can wait for, and what no test may overlook.

In a worker a poisoned callback ends the process, as a parser or a library that crashes on one callback would. And the
file `broken` beside callbox.toml names a promise to be broken on purpose, to see that the count shows it.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

_worker = bool({"workers", "workers.app"} & {*sys.orig_argv}) and "worker" in sys.orig_argv
_ingress = "ingress" in sys.orig_argv
_broken = ""

if _worker or _ingress:
    _broken = Path(os.environ["CALLBOX_CONFIG"]).with_name("broken").read_text()

if _worker:
    from workers.drain import read as reader

    _read = reader.read

    def _read_or_die(entry: Any, sources: Any) -> Any:
        if b"callbox-poison" in entry.packed:
            os.kill(os.getpid(), signal.SIGKILL)
        return _read(entry, sources)

    reader.read = _read_or_die  # what read_unless_deadly calls, until too many workers have died of it

if _worker and _broken == "entries acknowledged before COMMIT":
    from shared.inbox import Done
    from shared.outcomes import Outcome
    from workers.drain.store import Pending

    _finish = Pending.finish

    def _acknowledge_and_finish(self: Any, run: Any) -> Any:
        run._consumer.acknowledge([Done(parsed.entry, Outcome.STORED) for parsed in self._batch])
        time.sleep(0.1)
        return _finish(self, run)

    Pending.finish = _acknowledge_and_finish  # type: ignore[method-assign]

if _ingress and _broken == "callbacks answered before the commit":
    from ingress.commit import Committer

    _commit = Committer.commit

    def _answer_at_once(self: Any, callback: Any, done: Any) -> None:
        asyncio.get_running_loop().call_later(0.2, _commit, self, callback, lambda error: None)
        done(None)

    Committer.commit = _answer_at_once  # type: ignore[method-assign]
