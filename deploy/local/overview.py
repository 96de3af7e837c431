"""Where everything of a running `callbox up` is, in lines for people. A token is a secret: it is left out."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.local.processes import flower_port
from shared.config import Config
from shared.source import Source

_METRICS = {
    "CALLBOX_ADMIN_URL": "the ingress",
    "CALLBOX_WORKER_ADMIN_URL": "the worker",
    "CALLBOX_BEAT_ADMIN_URL": "beat: what is in Redis and PostgreSQL",
}


def overview(configuration: Config, folder: Path, addresses: Mapping[str, str]) -> Iterator[str]:
    """The URL of each source, the page of Flower, the metrics, and the logs in the folder of an `up`."""
    for source in configuration.sources.values():
        yield f"callbacks  {_url_of(source, addresses['CALLBOX_URL'])}   ({source.provider})"
    if "FLOWER_URL" in addresses:
        url = addresses["FLOWER_URL"]
        wanted = flower_port()
        moved = "" if url.endswith(f":{wanted}") else f"; port {wanted} is taken"
        yield f"Flower     {url}/tasks   (every drain with its counts{moved})"
    for name, whose in _METRICS.items():
        if name in addresses:
            yield f"metrics    {addresses[name]}/metrics   (of {whose})"
    yield f"logs       {folder / 'logs'}"


def _url_of(source: Source, url: str) -> str:
    token = "/<token>" if source.token else ""
    return f"{url}/callbacks/{source.name}{token}"
