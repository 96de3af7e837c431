"""Pages of Callbox's own processes."""

from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from shared.loopback import is_loopback

_DIRECT, _USUAL = build_opener(ProxyHandler({})), build_opener()


def read_page(url: str, seconds: float) -> bytes:
    """The body of a page that answers 2XX within this time. Raises URLError, another OSError, or ValueError for what is
    no URL."""
    # A proxy of the environment has no way to this host.
    opener = _DIRECT if is_loopback(urlsplit(url).hostname or "") else _USUAL
    with opener.open(url, timeout=seconds) as answer:
        body: bytes = answer.read()
    return body
