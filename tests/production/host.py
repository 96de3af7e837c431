"""Hosts out of Linux namespaces: each with processes, a network, and a copy of this machine's files of its own, which
ends with the test. Needs root."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from deploy.local.supervisor import die_with_parent

ROOT = Path(__file__).parents[2]
INIT = Path(__file__).with_name("init.py")
PYTHON = Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SECONDS = 120.0  # for a script
NEEDED = ("unshare", "nsenter", "ip", "redis-server", "nginx", "pg_ctlcluster", "openssl", "useradd", "runuser", "curl")

# $1: an empty folder, $2: the host's name; then the folders of this machine that a host needs beside its root file
# system, for they may be elsewhere. Anyone may pass through what is above them.
_DONE = "--- done ---"
_START = r"""
set -eu
folder=$1 name=$2; shift 2
mount -t tmpfs none "$folder"
cd "$folder"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc proc root/proc
mount --rbind /dev root/dev
mount -t tmpfs none root/run
mount -t tmpfs -o mode=1777 none root/tmp
for place; do
    if [ ! -e "root$place" ] || [ "$(stat -c %d "$place")" != "$(stat -c %d /)" ]; then
        mkdir -p "root$place"
        mount --rbind "$place" "root$place"
    fi
    above=$place
    while above=$(dirname "$above"); [ "$above" != / ]; do chmod o+x "root$above"; done
done
hostname "$name"
ip link set lo up
mkdir -p root/run/lock
exec chroot root bash -c '"$0" "$1" & echo started; wait $!' "$PYTHON" "$INIT"
"""


def missing() -> str | None:
    """Why no host can be made here; None if one can."""
    if os.geteuid():
        return "only root can make hosts out of namespaces"
    without = [name for name in NEEDED if shutil.which(name, path=f"{os.environ.get('PATH', '')}:{PATH}") is None]
    if without:
        return f"not installed: {', '.join(without)}"
    probe = (
        "mount -t tmpfs none /mnt && cd /mnt && mkdir upper work root"
        " && mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root"
    )
    made = subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "sh", "-c", probe], capture_output=True)
    return None if made.returncode == 0 else "no namespace with an overlay can be made here"


class Failed(Exception):
    """A script failed: what it was, and what it said."""


class Host:
    """A host at an address. `type` is root at its one shell, which keeps its folder, variables and umask."""

    def __init__(self, folder: Path, name: str, address: str) -> None:
        folder.mkdir()
        self.name, self.address = name, address
        places = [str(ROOT), sys.base_prefix]
        places += [] if Path(sys.prefix).is_relative_to(ROOT) else [sys.prefix]
        namespaces = ("--mount", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child")
        self._process = subprocess.Popen(
            ["unshare", *namespaces, "bash", "-c", _START, "start", str(folder), name, *places],
            env={"PATH": PATH, "PYTHON": str(PYTHON), "INIT": str(INIT), "LANG": "C.UTF-8"},
            stdout=subprocess.PIPE,
            preexec_fn=die_with_parent,
        )
        assert self._process.stdout is not None
        started = self._process.stdout.readline()
        assert started == b"started\n", f"{name} did not start: {started!r}"
        self._shell: subprocess.Popen[str] | None = None
        self._environment = {"PATH": f"{PYTHON.parent}:{PATH}", "HOME": "/root", "LANG": "C.UTF-8"}
        first = self._first = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())
        entered = ("--mount", "--net", "--uts", "--ipc", "--pid", "--root")
        self._entered = ["nsenter", f"--target={first}", *entered, "env", "--chdir=/root"]
        self.run(
            f"printf '#!/bin/sh\\nexec {PYTHON} {INIT} \"$@\"\\n' > /usr/local/bin/systemctl\n"
            "chmod +x /usr/local/bin/systemctl; while [ ! -S /run/systemctl ]; do sleep 0.05; done"
        )

    @property
    def network(self) -> Path:
        """Whoever has this open keeps the host's end of its links."""
        return Path(f"/proc/{self._first}/ns/net")

    def type(self, commands: str) -> str:
        """What the commands said. Raises Failed."""
        shell = self._shell
        if shell is None or shell.poll() is not None:
            shell = self._shell = subprocess.Popen(
                [*self._entered, "bash", "-euxo", "pipefail"],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=die_with_parent,
            )
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(f"{commands}\n{{ echo {_DONE}; }} 2>/dev/null\n")
        shell.stdin.flush()
        said: list[str] = []
        for line in shell.stdout:
            if line == f"{_DONE}\n":
                return "".join(said)
            said.append(line)
        raise Failed(f"on {self.name}:\n{''.join(said)[-6000:]}")

    def run(self, script: str) -> str:
        """What a script in a shell of its own said. Raises Failed."""
        done = subprocess.run(
            [*self._entered, "bash", "-euo", "pipefail", "-c", script],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
        )
        if done.returncode:
            raise Failed(f"on {self.name}, exit code {done.returncode}: {script}\n{done.stdout[-6000:]}")
        return done.stdout

    def path(self, place: str) -> Path:
        """A file of the host, as it is seen from here."""
        return Path(f"/proc/{self._first}/root{place}")

    def connect(self, other: "Host") -> None:
        """Joins the networks of two hosts by a cable."""
        ends = [f"netns {host._first}" for host in (self, other)]
        words = f"ip link add eth0 {ends[0]} type veth peer name eth0 {ends[1]}".split()
        subprocess.run(words, check=True, env={"PATH": PATH})
        for host in (self, other):
            host.run(f"ip address add {host.address}/24 dev eth0; ip link set eth0 up")

    def end(self) -> None:
        """As a power failure: everything on it ends at once."""
        for process in (self._process, self._shell):
            if process is not None:
                with process:  # closes its pipes, and waits
                    process.kill()
        ends = time.monotonic() + 20
        while Path(f"/proc/{self._first}").exists() and time.monotonic() < ends:
            time.sleep(0.05)
