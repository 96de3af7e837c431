"""Pages of Callbox's own processes."""

from urllib.request import ProxyHandler, build_opener

_OPENER = build_opener(ProxyHandler({}))  # a proxy of the environment has no way to this host, nor to these ports


def read_page(url: str, seconds: float) -> bytes:
    """The body of a page that answers 2XX within this time. Raises URLError, another OSError, or ValueError for what is
    no URL."""
    with _OPENER.open(url, timeout=seconds) as answer:
        body: bytes = answer.read()
    return body
