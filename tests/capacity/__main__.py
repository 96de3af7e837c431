"""`make capacity`: the bytes of a callback, for each provider. Writes docs/capacity.md."""

import subprocess
import tempfile
from pathlib import Path

from deploy.local import servers
from deploy.local.supervisor import die_with_parent
from tests.capacity.measure import GROUP, Bytes, measure
from tests.conftest import answers, wait_until
from workers import schema

DOCUMENT = Path(__file__).parents[2] / "docs" / "capacity.md"
COUNT = 5000  # callbacks of each provider and kind
KINDS = {"mo": "inbound", "dr": "receipt"}
_HEAD = """\
# Capacity

Bytes of one callback, where it is: written by `make capacity`, which sends {count:,} callbacks of each provider, as
`callbox send` makes them, in groups of {group} through real servers. Yours may be longer: add what your texts have
more, once for each column.

| provider | kind | as it lies in the inbox | memory of Redis, while it waits | file of Redis | spool | \
tables and indexes | WAL |
|---|---|---|---|---|---|---|---|
"""
_TAIL = """
- **memory of Redis** is for callbacks that wait: none, while workers keep up.
- **file of Redis** is all that is written to the append-only file, the acknowledgement included. Redis rewrites the
  file when it has doubled, so that it stays small.
- **spool** is for callbacks that wait while Redis takes none.
- **tables and indexes** stay, until you remove rows.
- **WAL** is what an archive or a standby gets: this once, and more after each checkpoint, when each page that is
  changed goes into it whole.
"""


def document(found: list[Bytes]) -> str:
    lines = [f"| {row.provider} | {KINDS[row.kind]} | {' | '.join(f'{each:,}' for each in row[2:])} |" for row in found]
    return _HEAD.format(count=COUNT, group=GROUP) + "\n".join(lines) + "\n" + _TAIL


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="callbox-capacity-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the user of PostgreSQL passes through it
        started = servers.Redis(folder / "redis", "pw"), servers.Postgres(folder / "postgres", "pw")
        started[1].prepare()
        with (folder / "log").open("wb") as log:
            processes = [
                subprocess.Popen(server.command(), stdout=log, stderr=log, cwd="/", preexec_fn=die_with_parent)
                for server in started
            ]
        for server in started:
            wait_until(lambda url=server.url: answers(url), server.url)  # type: ignore[misc]
        schema.migrate(started[1].url)
        found = list(measure(started[0].url, started[1].url, folder, COUNT))
        for process in processes:
            process.kill()
            process.wait()
    DOCUMENT.write_text(document(found))
    print(f"wrote {DOCUMENT.relative_to(Path.cwd())}")


if __name__ == "__main__":
    main()
