"""Which names and addresses are of this host alone."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether nothing but this host reaches it."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
