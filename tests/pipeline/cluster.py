"""What the first `callbox up` in a folder makes of PostgreSQL, made once and copied: initdb and the migrations take
seconds, which a test of something else need not wait for."""

import atexit
import shutil
import signal
import subprocess
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp

from deploy.local import servers
from deploy.local.files import write_private
from deploy.local.supervisor import die_with_parent
from tests.conftest import answers, wait_until
from workers import schema

PASSWORD = "pw"
_PASSWORD_FILE = "postgres.password"


def copy_to(folder: Path) -> None:
    """Has the next `callbox up` in the folder be its second, unless it is that already. The folder is made if it does
    not exist."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "postgres").exists():
        made = _made()
        subprocess.run(["cp", "-a", "--reflink=auto", made / "postgres", made / _PASSWORD_FILE, folder], check=True)


@cache
def _made() -> Path:
    folder = Path(mkdtemp(prefix="callbox-cluster-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(0o711)  # the user of PostgreSQL passes through it
    write_private(folder / _PASSWORD_FILE, PASSWORD)
    server = servers.Postgres(folder / "postgres", PASSWORD)
    server.prepare()
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(server.command(), stdout=log, stderr=log, cwd="/", preexec_fn=die_with_parent) as process,
    ):
        try:
            wait_until(partial(answers, server.url), "the cluster that is copied")
            schema.migrate(server.url, after=True)
        finally:
            process.send_signal(signal.SIGINT)
    return folder
