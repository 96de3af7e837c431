"""Where everything of a running `callbox up` is, in lines for people. A token is a secret: it is left out."""

from collections.abc import Iterator, Mapping

from shared.config import Config
from shared.source import Source


def overview(configuration: Config, addresses: Mapping[str, str]) -> Iterator[str]:
    """The URL of each source, the page of Flower, and the metrics."""
    for source in configuration.sources.values():
        yield f"callbacks  {_url_of(source, addresses['CALLBOX_URL'])}   ({source.provider})"
    yield from pages(addresses)


def pages(addresses: Mapping[str, str]) -> Iterator[str]:
    """The pages for people and for monitoring."""
    if "FLOWER_URL" in addresses:
        yield f"Flower     {addresses['FLOWER_URL']}/tasks   (every drain with its counts)"
    yield f"metrics    {addresses['CALLBOX_ADMIN_URL']}/metrics"


def _url_of(source: Source, url: str) -> str:
    token = "/<token>" if source.token else ""
    return f"{url}/callbacks/{source.name}{token}"
