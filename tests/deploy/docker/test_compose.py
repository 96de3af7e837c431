"""compose.yaml, read as Compose reads it, with the programs of this machine."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
import redis
import yaml

from deploy.local import servers
from deploy.local.servers import free_port
from deploy.local.supervisor import die_with_parent
from ingress.__main__ import FLUSH_SECONDS
from shared import config
from shared.settings import Settings
from tests.conftest import wait_until
from tests.deploy.docker.support import DIGEST, DOCKER, PROMISED, ROOT, VARIABLES, assert_runs

COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NETWORKS: dict[str, Any] = COMPOSE["networks"]
INGRESSES = {"ingress-1", "ingress-2"}
OURS = {"migrate", "worker", "beat", "flower"} | INGRESSES
SERVERS = {"redis", "postgres"}
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)([^}]*)\}")


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def with_values(text: str, values: dict[str, str]) -> str:
    """The text as Compose would read it, with these values for the required variables."""
    text = VARIABLE.sub(
        lambda found: values[found[1]] if found[2].startswith(":?") else found[2].removeprefix(":-"), text
    )
    return text.replace("$$", "$")


def test_there_is_a_service_for_every_part() -> None:
    assert set(SERVICES) == OURS | SERVERS | {"nginx"}
    assert {name: service["scale"] for name, service in SERVICES.items() if "scale" in service} == {"worker": 2}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_only_the_rights_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert name in OURS or service["user"] not in ("root", "0")  # our image has a user of its own


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_started_again_unless_it_runs_once(name: str) -> None:
    assert SERVICES[name]["restart"] == ("no" if name == "migrate" else "unless-stopped")


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_services_share_one_image(name: str) -> None:
    build = SERVICES[name]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).samefile(DOCKER / "Dockerfile")
    assert SERVICES[name]["image"] == "callbox"


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_server_is_of_a_supported_version_and_keeps_its_data(name: str) -> None:
    wanted = {"redis": r"valkey/valkey:8(\.\d+)?(-alpine)?", "postgres": r"postgres:(15|16|17)(\.\d+)?(-alpine)?"}
    assert re.fullmatch(wanted[name] + DIGEST, SERVICES[name]["image"])
    volumes = dict(volume.split(":")[:2] for volume in SERVICES[name]["volumes"])
    assert volumes[name] == {"redis": "/data", "postgres": "/var/lib/postgresql/data"}[name]
    assert name in COMPOSE["volumes"]


def test_only_nginx_can_be_reached_by_tls_and_flower_from_its_host() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"nginx", "flower"}
    assert [with_values(port, {}) for port in published["nginx"]] == ["0.0.0.0:443:443"]
    assert published["flower"] == ["127.0.0.1:5555:5555"]
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


def test_a_service_is_only_in_the_networks_that_it_needs() -> None:
    members = {
        network: {name for name, service in SERVICES.items() if network in service["networks"]} for network in NETWORKS
    }
    assert members == {
        "edge": {"nginx"},
        "front": {"nginx"} | INGRESSES,
        "pages": {"flower"},
        "inbox": {"redis", "worker", "beat", "flower"} | INGRESSES,
        "database": {"postgres", "migrate", "worker", "beat"},
    }
    internal = {name for name, network in NETWORKS.items() if network and network["internal"] is True}
    assert internal == {"front", "inbox", "database"}, "what publishes a port needs one that is not"


@pytest.mark.parametrize(("network", "role"), [("inbox", "CALLBOX_REDIS_URL"), ("database", "CALLBOX_DATABASE_URL")])
def test_who_has_the_address_of_a_server_can_reach_it(network: str, role: str) -> None:
    for name in OURS:
        assert (network in SERVICES[name]["networks"]) == (role in SERVICES[name]["environment"]), name


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_has_a_bound_on_its_memory_and_processes(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*[mg]b", with_values(service["mem_limit"], {}))
    assert 0 < service["pids_limit"] <= 256
    assert service["ulimits"]["nofile"] == 65536


def test_redis_has_room_to_rewrite_its_file() -> None:
    """The copy that writes it may need as much again as the data."""
    command = with_values(SERVICES["redis"]["command"][2], {})
    data = re.search(r"--maxmemory (\d+)gb", command)
    limit = re.fullmatch(r"(\d+)gb", with_values(SERVICES["redis"]["mem_limit"], {}))
    assert data
    assert limit
    assert int(limit[1]) > 2 * int(data[1])


def test_every_dependency_is_a_service_and_can_reach_its_condition() -> None:
    for service in SERVICES.values():
        for name, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            elif how["condition"] == "service_completed_successfully":
                assert SERVICES[name]["restart"] == "no"
            else:
                assert how["condition"] == "service_started"


def test_workers_wait_for_the_migration_and_the_ingresses_for_nobody() -> None:
    assert SERVICES["worker"]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in INGRESSES:
        assert SERVICES[name]["depends_on"] == {"redis": {"condition": "service_started"}}


def test_every_variable_is_required_or_has_a_default() -> None:
    found = [variable for text in texts(COMPOSE) for variable in VARIABLE.findall(text)]
    assert found
    for name, rest in found:
        assert re.match(r":\?.|:-", rest), name
    assert not [text for text in texts(COMPOSE) if re.search(r"(?<!\$)\$[A-Za-z_]", text)]


def test_what_is_secret_is_required_and_named_in_the_example() -> None:
    required = {name for text in texts(COMPOSE) for name, rest in VARIABLE.findall(text) if rest.startswith(":?")}
    named = dict(re.findall(r"^(\w+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert named == dict.fromkeys(required, "")
    assert {"REDIS_PASSWORD", "POSTGRES_PASSWORD", "FLOWER_BASIC_AUTH"} <= required


def test_what_may_be_changed_is_named_in_the_example_with_its_default() -> None:
    optional = {
        name: rest.removeprefix(":-")
        for text in texts(COMPOSE)
        for name, rest in VARIABLE.findall(text)
        if rest.startswith(":-")
    }
    said = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert said == optional


def test_nginx_has_the_file_of_its_folder_and_every_ingress_at_a_fixed_address() -> None:
    files = dict(volume.split(":")[:2] for volume in SERVICES["nginx"]["volumes"])
    assert {place: (DOCKER / path).resolve() for path, place in files.items()} == {
        "/etc/nginx/nginx.conf": ROOT / "deploy" / "nginx" / "nginx.conf",
        "/etc/nginx/ingresses.conf": DOCKER / "ingresses.conf",
        "/etc/nginx/tls": DOCKER / "tls",
    }
    assert all(volume.endswith(":ro") for volume in SERVICES["nginx"]["volumes"])
    named = re.findall(r"^server (\S+):8000 ", (DOCKER / "ingresses.conf").read_text(), re.MULTILINE)
    assert set(named) == INGRESSES == set(SERVICES["nginx"]["depends_on"])
    addresses = {SERVICES[name]["networks"]["front"]["ipv4_address"] for name in INGRESSES}
    assert len(addresses) == len(INGRESSES), "nginx looks a name up when it starts, and never again"


def test_the_ingresses_believe_the_network_in_which_they_are_alone_with_nginx() -> None:
    (config,) = NETWORKS["front"]["ipam"]["config"]
    for name in INGRESSES:
        assert SERVICES[name]["environment"]["CALLBOX_TRUSTED_PROXIES"] == config["subnet"]
        assert ip_address(SERVICES[name]["networks"]["front"]["ipv4_address"]) in ip_network(config["subnet"])


def test_the_private_key_of_nginx_gets_into_no_image_and_no_commit() -> None:
    for file in (".dockerignore", ".gitignore"):
        lines = [line.rstrip("/") for line in (ROOT / file).read_text().splitlines()]
        assert "deploy/docker/tls" in lines, file


@pytest.mark.parametrize("name", sorted(INGRESSES))
def test_the_spool_is_on_a_volume_that_its_user_may_write(name: str) -> None:
    folder, volume = SERVICES[name]["environment"]["CALLBOX_SPOOL_DIR"], SERVICES[name]["volumes"][1]
    kept, _, target = volume.partition(":")
    assert kept in COMPOSE["volumes"]
    assert Path(folder).is_relative_to(target)
    assert f"--owner=10001 --group=10001 --mode=0700 {target}" in (DOCKER / "Dockerfile").read_text()


def test_every_callbox_variable_is_a_setting() -> None:
    for service in SERVICES.values():
        given = {name for name in service.get("environment", {}) if name.startswith("CALLBOX_")}
        assert given <= VARIABLES


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("migrate", {"CALLBOX_DATABASE_URL"}),
        *(
            (name, {"CALLBOX_REDIS_URL", "CALLBOX_CONFIG", "CALLBOX_SPOOL_DIR", "CALLBOX_TRUSTED_PROXIES"})
            for name in sorted(INGRESSES)
        ),
        ("worker", {"CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL", "CALLBOX_CONFIG"}),
        ("beat", {"CALLBOX_REDIS_URL", "CALLBOX_DATABASE_URL"}),
        ("flower", {"CALLBOX_REDIS_URL"}),
    ],
)
def test_a_role_knows_what_it_needs_and_no_more(name: str, needed: set[str]) -> None:
    environment = SERVICES[name]["environment"]
    assert {variable for variable in environment if variable.startswith("CALLBOX_")} == needed
    values = {"REDIS_PASSWORD": "abc", "POSTGRES_PASSWORD": "def"}
    given = {key: with_values(value, values) for key, value in environment.items() if key.startswith("CALLBOX_")}
    settings = config.load_settings(given)
    if "CALLBOX_REDIS_URL" in needed:
        assert settings.redis_url == "redis://:abc@redis:6379/0"
    if "CALLBOX_DATABASE_URL" in needed:
        assert settings.database_url == "postgresql://callbox:def@postgres:5432/callbox"


def test_only_who_reads_the_sources_has_their_secrets() -> None:
    assert {name for name, service in SERVICES.items() if "env_file" in service} == {"worker"} | INGRESSES


@pytest.mark.parametrize("name", sorted({"worker"} | INGRESSES))
def test_who_reads_the_sources_has_the_file_and_every_name_in_it(name: str) -> None:
    service = SERVICES[name]
    volume = service["volumes"][0]
    assert volume["target"] == service["environment"]["CALLBOX_CONFIG"]
    assert volume["read_only"] is True
    assert volume["bind"] == {"create_host_path": False}
    names = set(re.findall(r"\$\{(\w+)\}", (DOCKER / "callbox.example.toml").read_text())) - {"NAME"}
    assert service["env_file"] == "secrets.env"
    example = (DOCKER / "secrets.env.example").read_text()
    assert set(re.findall(r"^(\w+)=$", example, re.MULTILINE)) == names


@pytest.mark.parametrize("name", sorted(OURS - INGRESSES))
def test_every_command_is_one_that_the_image_has(name: str) -> None:
    assert_runs(name, SERVICES[name]["command"])


def test_flower_changes_nothing() -> None:
    assert "--read-only" in SERVICES["flower"]["command"]


def test_the_server_takes_the_settings_of_the_promises_a_bound_on_its_memory_and_a_password(tmp_path: Path) -> None:
    """With the program of this machine, as the container starts it."""
    service = SERVICES["redis"]
    assert "./redis.conf:/etc/callbox/redis.conf:ro" in service["volumes"]
    shell, option, script = (with_values(word, {}) for word in service["command"])
    environment = {name: with_values(text, {"REDIS_PASSWORD": "abc"}) for name, text in service["environment"].items()}
    port = free_port()
    (tmp_path / "redis.conf").write_text(
        f'include "{DOCKER / "redis.conf"}"\nbind 127.0.0.1\nport {port}\ndir "{tmp_path}"\n'
    )
    binary = Path(servers.Redis(tmp_path / "unused", "pw").command()[0])
    process = subprocess.Popen(
        [shell, option, script.replace("/etc/callbox/redis.conf", str(tmp_path / "redis.conf"))],
        env={**environment, "PATH": f"{binary.parent}:/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        with redis.Redis(port=port, password="abc", decode_responses=True) as client:
            wait_until(lambda: pings(client), "Redis")
            running: Any = client.config_get("maxmemory", *PROMISED)
        assert running == {**PROMISED, "maxmemory": str(1024**3)}
        with redis.Redis(port=port) as anybody, pytest.raises(redis.AuthenticationError):
            anybody.ping()
        assert Path(f"/proc/{process.pid}/exe").samefile(binary), "the signal of a stop would not reach it"
        assert b"abc" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finally:
        process.terminate()
        process.wait(10)


def pings(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def test_no_password_is_in_a_command() -> None:
    for name, service in SERVICES.items():
        assert not [text for text in texts(service.get("command", [])) if ":?" in text], name


@pytest.mark.parametrize(
    ("name", "asks"),
    [
        ("redis", "valkey-cli -e ping"),
        ("postgres", "pg_isready --quiet --host=127.0.0.1 --username=callbox --dbname=callbox"),
        *((name, "http://127.0.0.1:8001/readyz") for name in sorted(INGRESSES)),
        ("flower", "http://127.0.0.1:5555/healthcheck"),
    ],
)
def test_a_health_check_asks_the_service_itself(name: str, asks: str) -> None:
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    assert asks in " ".join(command)
    if command[0] == "python":
        compile(command[-1], name, "exec")


@pytest.mark.parametrize(
    ("name", "longest"),
    [
        *((name, Settings().stop_seconds + FLUSH_SECONDS) for name in sorted(INGRESSES)),
        ("worker", Settings().drain_seconds + 3 * Settings().statement_seconds),  # its time limit
        ("redis", 30),
        ("postgres", 60),
    ],
)
def test_a_service_has_time_to_end_by_itself(name: str, longest: float) -> None:
    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) > longest


def test_flower_wants_the_user_and_password_of_the_environment(redis_url: str, tmp_path: Path) -> None:
    service = SERVICES["flower"]
    port = free_port()
    values = {"REDIS_PASSWORD": "abc", "FLOWER_BASIC_AUTH": "operator:secret"}
    environment = {name: with_values(text, values) for name, text in service["environment"].items()}
    command = [part.replace("5555", str(port)) for part in service["command"]]
    process = subprocess.Popen(
        [sys.executable, *command[1:], "--address=127.0.0.1"],
        env={**os.environ, **environment, "CALLBOX_REDIS_URL": redis_url},
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    try:
        wait_until(lambda: status_of(f"http://127.0.0.1:{port}/healthcheck") == 200, "Flower")
        for path in ("", "api/workers", "workers"):
            url = f"http://127.0.0.1:{port}/{path}"
            assert status_of(url) == 401
            assert status_of(url, "operator:wrong") == 401
            assert status_of(url, "operator:secret") == 200
    finally:
        process.terminate()
        process.wait(10)


def status_of(url: str, login: str | None = None) -> int | None:
    request = Request(url)
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except (URLError, OSError):
        return None
