"""Who calls: the client's address behind trusted proxies, and whether a source takes callbacks from there."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from shared.errors import Rejected
from shared.source import Source

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FORWARDED_LIMIT_CHARS = 4096  # of X-Forwarded-For; with a longer one the client is unknown


class Proxies:
    """The proxies whose X-Forwarded-For is believed."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)

    def trusts(self, address: str | None) -> bool:
        """Whether this is one of them. A caller without an address (a Unix socket) is not one."""
        return bool(self._networks) and address is not None and _is_in(address, self._networks)

    def client(self, peer: str | None, forwarded: str | None) -> str | None:
        """The address of the client: the first untrusted one from the right, as each proxy appends whom it saw.

        `peer` is who is connected, `forwarded` all values of X-Forwarded-For, joined by commas. None where an address
        on the way cannot be read: then it is unknown.
        """
        address = read_address(peer)
        if not forwarded or not self.trusts(address):
            return address
        if len(forwarded) > FORWARDED_LIMIT_CHARS:
            return None
        for hop in reversed(forwarded.split(",")):
            address = read_address(hop)
            if not self.trusts(address):
                break
        return address


@lru_cache(maxsize=1024)  # a provider calls from a few
def read_address(text: str | None) -> str | None:
    """An address without its port, brackets and zone; one of IPv4 in IPv6 (`::ffff:192.0.2.1`) as that of IPv4.

    None for what is not an address.
    """
    if text is None or len(text) > 100:
        return None
    text = text.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


@lru_cache(maxsize=1024)
def network_of(address: str | None) -> str | None:
    """Whose requests count together: those of an address, or of a network of IPv6 that one caller has to itself."""
    if address is None or ":" not in address:
        return address
    return str(ip_network(f"{address}/64", strict=False))


def check_address(source: Source, address: str | None) -> None:
    """Raises Rejected unless the source takes callbacks from there."""
    if not source.allow_ips:
        return
    if address is None:
        raise Rejected("address_unknown")
    if not _is_in(address, source.allow_ips):
        raise Rejected("address_not_allowed")


@lru_cache(maxsize=1024)
def _is_in(address: str, networks: tuple[Network, ...]) -> bool:
    return any(ip_address(address) in network for network in networks)
