"""docs/production.md, followed to the letter on two hosts: real Redis, PostgreSQL and nginx of the system with the
configuration of the page, Callbox from its wheel, and what the page promises after each step."""

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.production import page
from tests.production.host import ROOT, Failed, Host, missing
from tests.release.release import build

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

BLOCKS = page.read()
NEXT = "0.1.1"
SECONDS = 90.0
NGINX = BLOCKS["The start"][2]
MIGRATIONS = {  # of the next release
    "9000_next.before.sql": "ALTER TABLE callbacks ADD COLUMN next integer;",
    "9001_next.after.sql": "ALTER TABLE callbacks ALTER COLUMN next SET DEFAULT 0;",
}
_DOWNLOADS = re.compile(r"apt-get install .*")
_LOCKED = re.compile(r"(\S+)/bin/pip install --require-hashes .*")


def offline(commands: str) -> str:
    """The same without what needs a network: the packages of this environment take the place of the locked ones."""
    packages = Path(pytest.__file__).parents[1]
    commands = _DOWNLOADS.sub("true", commands)
    return _LOCKED.sub(rf"echo {packages} > $(echo \1/lib/python3*/site-packages)/locked.pth", commands)


def make_next(source: Path) -> None:
    """Turns the sources into those of the next release, which has migrations."""
    project = source / "pyproject.toml"
    project.write_text(re.sub(r'(?m)^version = ".*"', f'version = "{NEXT}"', project.read_text()))
    for name, sql in MIGRATIONS.items():
        (source / "workers" / "migrations" / name).write_text(f"-- Of the next release.\n\n{sql}\n")


class Installation:
    """Two hosts, and what is known of them."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.wheels = [build(_made(folder / "release")), build(_made(folder / "next"), make_next)]
        self.one = Host(folder / "one", "one", "10.0.0.1")
        self.two = Host(folder / "two", "two", "10.0.0.2")
        self.one.connect(self.two)
        self.sent: set[str] = set()

    def follow(self, host: Host, heading: str, *numbers: int) -> str:
        """Types these blocks of the page."""
        return "".join(host.type(offline(BLOCKS[heading][number])) for number in numbers)

    def carry(self, place: str, *hosts: Host) -> None:
        """Copies a file of the first host, or a wheel, to the same place of others."""
        for host in hosts:
            shutil.copy2(self.one.path(place) if place.startswith("/") else place, host.path(place))

    def send(self, to: Host, count: int = 10) -> None:
        """A provider sends to the public address of a host; every callback is acknowledged."""
        secret = self.one.path("/etc/callbox/sources/EMNIFY_API_SECRET").read_text().strip()
        said = self.one.run(
            f"cd {ROOT} && SSL_CERT_FILE=/etc/nginx/tls/tls.crt {sys.executable} -m tests.production.provider"
            f" https://{to.address} {secret} {count}"
        )
        self.sent.update(said.split())

    def sql(self, query: str) -> str:
        return self.one.run(f'cd / && runuser -u postgres -- psql -At callbox -c "{query}"').strip()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.one.run("callbox status --json"))
        return found

    def stored(self) -> set[str]:
        try:
            return set(self.sql("SELECT id FROM callbacks WHERE NOT test").split())
        except Failed:
            return set()

    def wait_stored(self, ids: set[str] | None = None) -> None:
        """Waits until what was sent, and nothing else, is in PostgreSQL."""
        wanted = self.sent if ids is None else ids
        wait_until(lambda: self.stored() == wanted, "what was acknowledged is stored", SECONDS, poll_seconds=0.3)

    def let_a_minute_pass(self) -> None:
        """A worker looks at its servers every minute, and when it has started."""
        self.one.run("systemctl restart callbox-worker")
        self.send(self.one, 1)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_every_block_of_the_page_is_typed_somewhere() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for heading, blocks in BLOCKS.items():
        typed = {int(n) for numbers in re.findall(rf'"{heading}"((?:, \d)+)', source) for n in numbers.split(", ")[1:]}
        assert typed == set(range(len(blocks))), heading


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    found = Installation(tmp_path)
    yield found
    for host in (found.two, found.one):
        host.end()


def test_every_command_is_typed(installation: Installation) -> None:
    """The steps are those of the page; each helper below is one heading."""
    follow_the_first_host(installation)
    look_at_the_first_host(installation)
    follow_the_second_host(installation)
    follow_the_upgrade(installation)
    follow_the_backup(installation)
    follow_the_loss_of_redis(installation)
    with installation.two.network.open("rb"):  # the cable stays: Redis listens at the other end of it
        follow_the_loss_of_a_host(installation)
        follow_the_rotation(installation)


def put_certificate(host: Host) -> None:
    """The public one, which the page leaves to its reader."""
    host.run(
        "mkdir -p /etc/nginx/tls; cd /etc/nginx/tls; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        " -nodes -days 1 -subj /CN=callbacks.example.com -addext subjectAltName=IP:10.0.0.1,IP:10.0.0.2"
        " -keyout tls.key -out tls.crt"
    )


def follow_the_first_host(installation: Installation) -> None:
    one = installation.one
    shutil.copy(installation.wheels[0], one.path("/root"))
    installation.follow(one, "The program", 0)
    installation.follow(one, "The servers", 0, 1, 2)
    installation.follow(one, "The configuration", 0)
    said = installation.follow(one, "The start", 0)
    assert "10 of 10 accepted" in said
    assert "\nwrong" not in said
    assert said.count("\ngood") == 5, "the file, the source, Redis, PostgreSQL, the spool"
    wait_until(lambda: installation.status()["stored"] == 10, "the tests are stored", SECONDS, poll_seconds=0.3)
    installation.follow(one, "The start", 1)
    assert installation.sql("SELECT count(*) FROM callbacks") == "0"
    put_certificate(one)
    installation.follow(one, "The start", 2)
    installation.send(one, 20)
    installation.wait_stored()


def look_at_the_first_host(installation: Installation) -> None:
    """Secrets, and the ways in."""
    one, two = installation.one, installation.two
    readable = one.run("runuser -u callbox -- find /etc/callbox -type f -readable 2>/dev/null || true").split()
    assert {Path(path).name for path in readable} == {"callbox.toml", "settings.env", "ca.crt"}
    secrets = [path.read_text().strip() for path in one.path("/etc/callbox/credentials").glob("*/*")]
    passwords = {password for secret in secrets for password in re.findall(r":([0-9a-f]{24,})(?:@|$)", secret)}
    assert len(passwords) == len(secrets) - 1 == 11, "beat reads as the reader"
    lines = one.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "workers worker" in lines
    assert not [password for password in passwords if password in lines]
    for words in (
        "redis-cli -e -h 10.0.0.1 ping",
        "psql 'postgresql://callbox_worker@10.0.0.1/callbox?sslmode=disable' -c 'SELECT 1'",
        "curl -sSf http://10.0.0.1:8000/healthz",
        "curl -sSf http://10.0.0.1:18000/metrics",
    ):
        with pytest.raises(Failed):
            two.run(words)
    assert one.run("curl -so /dev/null -w '%{http_code}' http://127.0.0.1:5555/workers") == "401"
    auth = one.path("/etc/callbox/credentials/flower/FLOWER_BASIC_AUTH").read_text().strip()
    assert one.run(f"curl -sf -u {auth} http://127.0.0.1:5555/workers")


def follow_the_second_host(installation: Installation) -> None:
    one, two = installation.one, installation.two
    shutil.copy(installation.wheels[0], two.path("/root"))
    installation.follow(two, "The program", 0)
    installation.follow(one, "A second host", 0)
    installation.carry("/root/second-host.tar", two)
    said = installation.follow(two, "A second host", 1)
    assert "10 of 10 accepted" in said
    assert "\nwrong" not in said
    put_certificate(two)
    two.path("/etc/nginx/tls/tls.crt").write_bytes(one.path("/etc/nginx/tls/tls.crt").read_bytes())
    two.path("/etc/nginx/tls/tls.key").write_bytes(one.path("/etc/nginx/tls/tls.key").read_bytes())
    two.type(NGINX)
    one.run("systemctl stop callbox-worker")
    installation.send(two)
    installation.wait_stored()
    one.run("systemctl start callbox-worker")


def follow_the_upgrade(installation: Installation) -> None:
    one, two = installation.one, installation.two
    for host in (one, two):
        shutil.copy(installation.wheels[1], host.path("/root"))
        installation.follow(host, "An upgrade", 0)
        assert "0.1.0" in host.run("callbox --version")
    installation.follow(one, "An upgrade", 1)
    assert installation.sql("SELECT count(*) FROM schema_migrations WHERE number >= 9000") == "1"
    assert releases(one) == releases(two) == {"0.1.0"}
    installation.send(one)
    installation.wait_stored()
    for host in (one, two):
        installation.follow(host, "An upgrade", 2)
        assert releases(host) == {NEXT}
        installation.send(one)
        installation.send(two)
    for host in (two, one):
        installation.follow(host, "An upgrade", 3)
        assert releases(host) == {"0.1.0"}
        installation.send(one)
        installation.send(two)
    installation.wait_stored()
    for host in (one, two):
        installation.follow(host, "An upgrade", 2)
    installation.follow(one, "An upgrade", 4)
    assert installation.sql("SELECT count(*) FROM schema_migrations WHERE number >= 9000") == "2"
    installation.send(two)
    installation.wait_stored()


def releases(host: Host) -> set[str]:
    """The releases whose processes run."""
    return set(re.findall(r"/opt/callbox-([\d.]+)/bin/python", host.run("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")))


def follow_the_backup(installation: Installation) -> None:
    one = installation.one
    installation.follow(one, "Backup and restore", 0, 1)
    installation.send(one)
    installation.wait_stored()
    archive(installation)
    lose_postgresql(one)
    installation.send(one)  # Redis keeps them
    installation.follow(one, "Backup and restore", 2)
    installation.wait_stored()
    installation.let_a_minute_pass()
    installation.wait_stored()
    assert installation.status()["setback"] is None

    # The same, but the archive was away.
    archive(installation)
    installation.sql("ALTER SYSTEM SET archive_command = 'false'")
    installation.sql("SELECT pg_reload_conf()")
    kept = set(installation.sent)
    installation.send(one)
    installation.wait_stored()
    installation.let_a_minute_pass()
    installation.wait_stored()
    gone = installation.sent - kept
    lose_postgresql(one)
    installation.follow(one, "Backup and restore", 2)
    installation.sent -= gone
    wait_until(lambda: installation.stored() == kept, "PostgreSQL without what the WAL lacks", SECONDS)
    installation.let_a_minute_pass()
    wait_until(lambda: installation.status()["setback"], "the setback", SECONDS, poll_seconds=0.5)
    said = one.run("callbox status")
    assert "PostgreSQL went back" in said
    status = installation.status()
    assert status["stored"] + status["duplicates"] >= len(installation.sent | gone), "the ledger counts them"
    installation.wait_stored()


def archive(installation: Installation) -> None:
    """Has all WAL until now in the archive, as it is after a minute."""
    segment = installation.sql("SELECT pg_walfile_name(pg_switch_wal())")
    path = installation.one.path(f"/var/backups/callbox/wal/{segment}")
    wait_until(path.exists, "the archive", SECONDS, poll_seconds=0.2)


def lose_postgresql(host: Host) -> None:
    """Its server dies, and its disk with it."""
    host.run("kill -9 $(head -n 1 /var/lib/postgresql/*/main/postmaster.pid); rm -rf /var/lib/postgresql/*/main/*")


def follow_the_loss_of_redis(installation: Installation) -> None:
    one = installation.one
    before = installation.status()
    assert before["pending"] == 0
    installation.follow(one, "Backup and restore", 3)
    installation.send(one)
    installation.wait_stored()
    wait_until(lambda: installation.status()["lost"], "the loss", SECONDS, poll_seconds=0.5)
    status = installation.status()
    assert status["accepted"] < before["accepted"]
    assert "Redis lost" in one.run("callbox status")


def follow_the_loss_of_a_host(installation: Installation) -> None:
    one, two = installation.one, installation.two
    one.run("systemctl stop redis-server")
    installation.send(two)
    spool = two.path("/var/lib/callbox/spool")
    shutil.copytree(spool, one.path("/mnt/lost/spool"))
    two.end()
    one.run("systemctl start redis-server")
    said = installation.follow(one, "Backup and restore", 4)
    assert "10" in said
    installation.wait_stored()
    wait_until(lambda: not installation.status()["spooled"], "no spooled callbacks", SECONDS, poll_seconds=0.5)


def follow_the_rotation(installation: Installation) -> None:
    one = installation.one
    url = one.path("/etc/callbox/credentials/worker/CALLBOX_REDIS_URL").read_text()
    (old,) = re.findall(r"worker:([0-9a-f]+)@", url)
    ping = f"REDISCLI_AUTH={old} redis-cli -e -h one.internal --tls --cacert /etc/redis/ca.crt --user worker ping"
    installation.follow(one, "Secrets", 0)
    assert "PONG" in one.run(ping), "both are valid"
    installation.send(one)
    installation.wait_stored()
    installation.follow(one, "Secrets", 1)
    with pytest.raises(Failed):
        one.run(ping)
    installation.follow(one, "Secrets", 2)
    installation.send(one)
    installation.wait_stored()
    log = one.type("as_admin ACL LOG")
    assert "reason" not in log.replace("reason\nauth", ""), log
