"""The system under attack: one `callbox up` with short deadlines, its sources, and what is read of it from outside."""

import dataclasses
import json
import os
import re
import signal
import socket
import struct
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shared.providers import PROVIDERS
from shared.settings import Settings
from tests.conftest import wait_until
from tests.pipeline.conftest import SECONDS, Running
from tests.providers.support import tables

HONEST = "127.0.0.1"
ATTACKERS = tuple(f"127.0.0.{number}" for number in range(10, 18))
PROXY = "127.0.0.5"  # trusted: what it says in X-Forwarded-For counts
ALLOWED = "192.0.2.0/24"  # of the sources with `allow_ips`; nobody here has such an address
BOTH, SIGNED, TOKEN, NEAR = "both", "signed", "token", "near"

HEAD, BODY, ANSWER, IDLE = "head", "body", "answer", "idle"
DEFAULTS = {HEAD: 10.0, BODY: 10.0, ANSWER: 10.0, IDLE: 75.0}  # seconds, where a version has no such setting
# Short deadlines, so that a recovery is seen within seconds. A version is given only the settings that it has.
SETTINGS = {
    "CALLBOX_HEAD_SECONDS": "2",
    "CALLBOX_BODY_SECONDS": "2",
    "CALLBOX_ANSWER_SECONDS": "2",
    "CALLBOX_IDLE_SECONDS": "3",
    "CALLBOX_TRUSTED_PROXIES": f"{PROXY}/32",
}
_KNOWN = {f"CALLBOX_{field.name.upper()}" for field in dataclasses.fields(Settings)}
_ERROR = re.compile(rb'"level": "(?:error|critical)"|Traceback|Exception in ASGI')
_STARTED = b"ingress started"
_ESTABLISHED, _CLOSE_WAIT = "01", "08"  # states in /proc/net/tcp


def settings() -> dict[str, str]:
    """Those of SETTINGS that this version knows."""
    return {name: value for name, value in SETTINGS.items() if name in _KNOWN}


def deadline_seconds(which: str) -> float:
    """The deadline of this kind in the system under attack."""
    name = f"CALLBOX_{which.upper()}_SECONDS"
    return float(settings().get(name, DEFAULTS[which]))


def source_name(provider: str, proof: str) -> str:
    return f"{provider}-{proof}"


def honest_source(provider: str) -> str:
    """The source of a provider that takes all kinds of its callbacks."""
    return source_name(provider, BOTH if PROVIDERS[provider].SIGNS else TOKEN)


def configuration() -> str:
    """callbox.toml: of every provider a source with secrets, with a token, with both, and with allowed addresses."""
    lines = []
    for provider, rules in PROVIDERS.items():
        needed = tables(provider).get("proof", {}).get("source", {})
        secrets = {"secrets": [f"the newest secret of {provider}, long enough", f"an older one of {provider}"]}
        token = {"token": f"token-of-{provider}"}
        kinds: dict[str, dict[str, Any]] = {TOKEN: token, NEAR: token | {"allow_ips": [ALLOWED]}}
        if rules.SIGNS:
            kinds |= {SIGNED: secrets, BOTH: secrets | token, NEAR: secrets | {"allow_ips": [ALLOWED]}}
        for kind, keys in kinds.items():
            lines.append(f"[sources.{source_name(provider, kind)}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in {"provider": provider, **needed, **keys}.items()]
    return "\n".join(lines) + "\n"


class Connection(NamedTuple):
    """A connection to the ingress, as it has it."""

    address: str  # of the other end
    port: int
    inode: str  # distinguishes two connections that come from one port, one after another


class System:
    """One `callbox up` in a folder of its own."""

    def __init__(
        self, folder: Path, *options: str, environment: Mapping[str, str] | None = None, is_forked: bool = False
    ) -> None:
        """`is_forked`: see Running."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.up = Running(
            folder,
            *(options or ("--ingress", "2", "--workers", "2")),
            "--no-flower",
            environment={**settings(), **(environment or {})},
            sources=configuration(),
            is_forked=is_forked,
            is_first=not is_forked,
        )

    def wait_ready(self) -> "System":
        self.up.wait_ready()
        self.port = int(self.up.url.rpartition(":")[2])
        self.admin_url = self.up.admin_url
        self._count = len(self.ingresses())
        return self

    def stop(self) -> None:
        """Ends it, and all its processes with it."""
        self.up.kill()

    def ingresses(self) -> dict[str, int]:
        """The process ids, by name."""
        return {name: pid for name, pid in self.up.pids.items() if name.startswith("ingress")}

    def renew(self) -> None:
        """New ingress processes, so that what one client left behind is not counted against the next."""
        wait_until(lambda: len(self.ingresses()) == self._count, "the ingresses", SECONDS)
        before, places = self.ingresses(), self.log_places()
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.log_since(places).count(_STARTED) == len(before), "the ingresses again", SECONDS)

    def metrics(self) -> str:
        with urllib.request.urlopen(f"{self.admin_url}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def log_since(self, places: Mapping[Path, int]) -> bytes:
        """What the ingresses have logged behind these places (of `log_places`)."""
        written = b""
        for path in self._logs():
            with path.open("rb") as log:
                log.seek(places.get(path, 0))
                written += log.read()
        return written

    def log_places(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in self._logs()}

    def _logs(self) -> Iterator[Path]:
        return (self.up.data / "logs").glob("ingress-*.log")

    def connections(self) -> list[Connection]:
        """Who is connected to the ingresses, apart from what waits in the listening socket's queue."""
        return [
            Connection(address, port, inode)
            for address, port, state, inode in _tcp(self.port)
            if state in (_ESTABLISHED, _CLOSE_WAIT) and inode != "0"
        ]


def errors_in(log: bytes) -> "Counter[str]":
    """What a log reports as errors, each with its count."""
    found: Counter[str] = Counter()
    for line in filter(_ERROR.search, log.splitlines()):
        try:
            entry = json.loads(line)
            found[f"{entry['event'].strip()} ({entry.get('error', '')})"] += 1
        except (ValueError, KeyError):
            found[line.decode("utf-8", "replace")[:100]] += 1
    return found


def rss_bytes(pid: int) -> int:
    """The resident memory of a process; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _tcp(local_port: int) -> Iterator[tuple[str, int, str, str]]:
    """The connections at this port of 127.0.0.1: remote address and port, state, inode (proc(5))."""
    local = f":{local_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split(maxsplit=10)
        if words[1].endswith(local):
            address, _, port = words[2].partition(":")
            yield socket.inet_ntoa(struct.pack("=I", int(address, 16))), int(port, 16), words[3], words[9]
