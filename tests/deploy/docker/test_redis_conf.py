"""redis.conf, as the file says and as a server takes it."""

from typing import Any

import redis

from tests.deploy.docker.support import DOCKER, PROMISED


def redis_conf() -> dict[str, str]:
    lines = [line.split(maxsplit=1) for line in (DOCKER / "redis.conf").read_text().splitlines()]
    settings = {line[0]: line[1].strip('"') for line in lines if line and not line[0].startswith("#")}
    assert len(settings) == len([line for line in lines if line and not line[0].startswith("#")])
    return settings


def test_the_settings_of_redis_carry_the_promises() -> None:
    assert PROMISED.items() <= redis_conf().items()


def test_a_real_server_runs_with_these_settings(redis_url: str) -> None:
    settings = redis_conf()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        running: Any = client.config_get(*settings)
    assert running == settings
