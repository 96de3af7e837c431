"""Which variables of the environment each child of `callbox up` gets: those that its role needs, and no other."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

_GENERAL = ("PATH", "HOME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_PYTHON = (*_GENERAL, "PYTHON*", "PROMETHEUS_*", "SSL_CERT_*")
_NEEDS = {
    "redis": _GENERAL,
    "postgres": _GENERAL,
    "ingress": (*_PYTHON, "CALLBOX_*", "OTEL_*"),
    "worker": (*_PYTHON, "CALLBOX_*", "PG*", "OTEL_*"),  # libpq reads PG* beside the URL
    "beat": (*_PYTHON, "CALLBOX_*", "PG*"),
    "flower": (*_PYTHON, "CALLBOX_*", "FLOWER_*"),
}
_READ_SOURCES = ("ingress", "worker")
_USE_POSTGRESQL = ("worker", "beat")


def environment_of(role: str, environ: Mapping[str, str], variables: Iterable[str] = ()) -> dict[str, str]:
    """What of `environ` a child of this role gets. `variables` are those that callbox.toml reads: most are secrets,
    and whatever they are called, only who reads the sources gets them."""
    confined = {**dict.fromkeys(variables, _READ_SOURCES), "CALLBOX_DATABASE_URL": _USE_POSTGRESQL}
    return {
        name: value
        for name, value in environ.items()
        if (role in confined[name] if name in confined else any(fnmatchcase(name, need) for need in _NEEDS[role]))
    }
