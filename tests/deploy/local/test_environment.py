"""What each child of `callbox up` may know."""

import pytest

from deploy.local.environment import environment_of

ROLES = ("redis", "postgres", "ingress", "worker", "beat", "flower")
SERVERS = ("redis", "postgres")


def names(role: str, environ: dict[str, str], *variables: str) -> set[str]:
    return set(environment_of(role, environ, variables))


@pytest.mark.parametrize("role", ROLES)
def test_what_nobody_named_reaches_no_child(role: str) -> None:
    strangers = dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "CELERY_BROKER_URL", "NOT_CALLBOX_X", "LD_PRELOAD"), "x")
    assert environment_of(role, {**strangers, "PATH": "/bin", "LC_ALL": "C"}) == {"PATH": "/bin", "LC_ALL": "C"}


@pytest.mark.parametrize("variable", ["EMNIFY_API_SECRET", "CALLBOX_SECRET", "FLOWER_SECRET", "PYTHONSECRET", "TZ"])
def test_what_the_sources_read_reaches_those_that_read_them_whatever_it_is_called(variable: str) -> None:
    assert {role for role in ROLES if names(role, {variable: "x"}, variable)} == {"ingress", "worker"}


def test_the_address_of_the_database_and_what_libpq_reads_reach_only_workers_and_beat() -> None:
    for variable in ("CALLBOX_DATABASE_URL", "PGPASSWORD", "PGSSLROOTCERT"):
        assert [role for role in ROLES if names(role, {variable: "x"})] == ["worker", "beat"]


def test_the_address_of_redis_and_the_settings_reach_our_processes() -> None:
    for variable in ("CALLBOX_REDIS_URL", "CALLBOX_STATEMENT_SECONDS", "PYTHONPATH", "SSL_CERT_FILE"):
        assert {role for role in ROLES if names(role, {variable: "x"})} == {*ROLES} - {*SERVERS}


def test_what_flower_reads_reaches_flower() -> None:
    assert [role for role in ROLES if names(role, {"FLOWER_BASIC_AUTH": "x"})] == ["flower"]
