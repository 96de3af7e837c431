"""The units of deploy/systemd, read by systemd where it is present, and by hand; and the script that they start."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ingress.__main__ import FLUSH_SECONDS
from shared import config
from shared.settings import Settings
from tests.deploy.docker.support import ROOT, VARIABLES, assert_runs
from workers import app, health, watchdog

FOLDER = ROOT / "deploy" / "systemd"
COMMON = "callbox-.service.d/common.conf"
SCRIPT = "/usr/local/lib/callbox/with-credentials"
PYTHON = "/opt/callbox/bin/python"
ROLES = {
    "ingress": "callbox-ingress@.service",
    "worker": "callbox-worker.service",
    "beat": "callbox-beat.service",
    "flower": "callbox-flower.service",
    "migrate": "callbox-migrate.service",
}
EXPOSURE = 15  # of systemd-analyze security, in tenths; a service without any setting has 96
SYSTEMD_ANALYZE = shutil.which("systemd-analyze")
PORT = "8000"  # of an instance

Unit = Mapping[str, list[str]]  # key → its values, in the order of the file; the sections have no key in common here


def read(name: str) -> Unit:
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


UNITS = {role: read(name) for role, name in ROLES.items()}


def only(unit: Unit, key: str) -> str:
    (value,) = unit[key]
    return value


def seconds(unit: Unit, key: str) -> float:
    return float(only(unit, key))


def credentials(unit: Unit) -> dict[str, str]:
    """The names of a unit's credentials, and the file of each."""
    return dict(value.split(":") for value in unit["LoadCredential"])


def test_there_is_a_unit_for_every_role_and_what_they_share() -> None:
    files = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert files == {*ROLES.values(), COMMON, "callbox.target", "callbox", "with-credentials"}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with the programs of this machine."""
    folder = tmp_path / "units"
    shutil.copytree(FOLDER, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text().replace(SCRIPT, str(FOLDER / "with-credentials"))
            path.write_text(text.replace("/opt/callbox/bin", str(Path(sys.executable).parent)))
    return folder


def analyze(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    if SYSTEMD_ANALYZE is None:
        pytest.skip("systemd is not installed")
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"}
    return subprocess.run([SYSTEMD_ANALYZE, *words], env=environment, capture_output=True, text=True, timeout=60)


def test_systemd_understands_every_line(installed: Path) -> None:
    names = [str(installed / name.replace("@.", f"@{PORT}.")) for name in (*ROLES.values(), "callbox.target")]
    shutil.copy(installed / ROLES["ingress"], installed / f"callbox-ingress@{PORT}.service")
    done = analyze(installed, "verify", "--man=no", "--recursive-errors=yes", *names)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (installed / ROLES["beat"]).write_text("[Service]\nExecStart=/bin/true\nRestarts=always\n")
    assert "Restarts" in analyze(installed, "verify", "--man=no", str(installed / ROLES["beat"])).stderr


@pytest.mark.parametrize("role", ROLES)
def test_systemd_finds_little_that_a_process_may_do(installed: Path, role: str) -> None:
    words = ("security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE}")
    done = analyze(installed, *words, str(installed / ROLES[role]))
    assert done.returncode == 0, done.stdout
    shutil.rmtree(installed / "callbox-.service.d")
    assert analyze(installed, *words, str(installed / ROLES[role])).returncode != 0


@pytest.mark.parametrize("role", ROLES)
def test_every_command_is_one_that_the_release_has(role: str) -> None:
    script, program, *rest = only(UNITS[role], "ExecStart").replace("%i", PORT).split()
    assert script == SCRIPT
    assert program in (PYTHON, "/opt/callbox/bin/callbox")
    assert_runs(role, [Path(program).name, *rest])


@pytest.mark.parametrize(
    ("role", "known"),
    [
        ("ingress", {"CALLBOX_REDIS_URL", "source"}),
        ("worker", {"CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL", "source"}),
        ("beat", {"CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL"}),
        ("flower", {"CALLBOX_REDIS_URL", "FLOWER_BASIC_AUTH"}),
        ("migrate", {"CALLBOX_DATABASE_URL"}),
    ],
)
def test_a_role_has_the_credentials_that_it_needs_and_no_more(role: str, known: set[str]) -> None:
    given = credentials(UNITS[role])
    assert set(given) == known
    assert given.pop("source", "/etc/callbox/sources") == "/etc/callbox/sources"
    assert given == {name: f"/etc/callbox/credentials/{role}/{name}" for name in given}
    assert {name for name in given if name.startswith("CALLBOX_")} <= VARIABLES


def test_no_credential_is_in_a_unit_and_every_callbox_variable_is_a_setting() -> None:
    for unit in (*UNITS.values(), read(COMMON)):
        given = dict(word.split("=", 1) for line in unit.get("Environment", ()) for word in line.split())
        assert {name for name in given if name.startswith("CALLBOX_")} <= VARIABLES
        assert not [name for name in given if name.endswith(("_URL", "_AUTH", "_SECRET", "_TOKEN"))]


def test_every_ingress_of_a_host_has_an_admin_port_of_its_own_and_all_have_one_spool() -> None:
    lines = [line.replace("%i", PORT) for line in UNITS["ingress"]["Environment"]]
    settings = config.load_settings(dict(line.split("=", 1) for line in lines))
    assert settings.admin_address == ("127.0.0.1", 18000)
    assert Path(settings.spool_dir).is_relative_to(Path("/var/lib", only(UNITS["ingress"], "StateDirectory")))
    assert "strict" in only(read(COMMON), "ProtectSystem"), "then it is the only place where an ingress may write"


def test_no_two_processes_of_a_host_have_one_admin_address() -> None:
    given = [line for unit in UNITS.values() for line in unit.get("Environment", ()) if "ADMIN_BIND" in line]
    assert len({line.replace("%i", PORT) for line in given}) == len(given) == 3


@pytest.mark.parametrize(
    ("role", "longest"),
    [
        ("ingress", Settings().stop_seconds + FLUSH_SECONDS + 5),  # and the CALLBOX_STOP_GRACE_SECONDS of the manifests
        ("worker", app.app.conf.task_time_limit + app.app.conf.worker_soft_shutdown_timeout),
    ],
)
def test_a_process_has_time_to_end_by_itself_and_only_it_is_asked(role: str, longest: float) -> None:
    assert seconds(UNITS[role], "TimeoutStopSec") >= longest
    assert only(UNITS[role], "KillMode") == "mixed"


@pytest.mark.parametrize("role", ROLES)
def test_what_died_is_started_again_unless_its_configuration_is_wrong(role: str) -> None:
    unit = UNITS[role]
    assert only(unit, "Restart") == ("on-failure" if role == "migrate" else "always")
    assert only(unit, "RestartPreventExitStatus") == "2"
    assert only(read(COMMON), "StartLimitIntervalSec") == "0"
    assert "MemoryMax" in unit
    assert "TasksMax" in unit


def test_the_watchdog_of_a_worker_waits_longer_than_its_reports_may_take() -> None:
    unit = UNITS["worker"]
    assert only(unit, "Type") == "notify"
    assert seconds(unit, "WatchdogSec") / watchdog.REPORTS > health.CHECK_SECONDS
    assert not [role for role, other in UNITS.items() if role != "worker" and "WatchdogSec" in other]


def test_nginx_sends_callbacks_to_the_instances_that_its_file_names() -> None:
    ports = re.findall(r"^server 127\.0\.0\.1:(\d+) ", (ROOT / "deploy/nginx/ingresses.conf").read_text(), re.MULTILINE)
    page = (ROOT / "docs" / "production.md").read_text()
    assert ports
    for port in ports:
        assert f"callbox-ingress@{port}" in page


def run_with(folder: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin", "CREDENTIALS_DIRECTORY": str(folder)}
    return subprocess.run([FOLDER / "with-credentials", *command], env=environment, capture_output=True, text=True)


def test_a_process_finds_its_credentials_in_its_environment(tmp_path: Path) -> None:
    values = {"CALLBOX_REDIS_URL": "redis://:a'b$c \"d`e@host/0", "source_EMNIFY_API_SECRET": "two\nlines", "EMPTY": ""}
    for name, value in values.items():
        (tmp_path / name).write_text(f"{value}\n")
    program = "import os; print(dict(os.environ) | {'pid': os.getpid(), 'parent': os.getppid()})"
    done = run_with(tmp_path, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    found = eval(done.stdout)
    assert found["CALLBOX_REDIS_URL"] == values["CALLBOX_REDIS_URL"]
    assert found["EMNIFY_API_SECRET"] == "two\nlines"
    assert found["EMPTY"] == ""
    assert found["parent"] == os.getpid(), "systemd takes the process that it started for the service"


def test_a_process_is_not_started_without_credentials_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    assert run_with(tmp_path / "missing", "/bin/true").returncode != 0
    (tmp_path / "NAME").write_text("value")
    assert run_with(tmp_path, "/bin/sh", "-c", "exit 2").returncode == 2
    assert (FOLDER / "with-credentials").stat().st_mode & stat.S_IXUSR
