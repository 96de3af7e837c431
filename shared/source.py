"""A source: a configured account of a provider."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

A2P_MAX_DIGITS = 8  # an address of up to 8 digits is a short code, hence A2P (emnify's own rule)


class Option(NamedTuple):
    """A key of a source: the type its value must have, the value without one, and what it means.

    A `required` one is what signatures cannot be checked without: a source with secrets must have it. Texts may name
    environment variables. `unit` is the unit of a number or the form of a text.
    """

    type: type
    default: Any
    meaning: str
    required: bool = False
    unit: str = ""
    since: str = "0.1.0"
    problem: Callable[[str], str | None] | None = None  # what is wrong with a text, None when nothing is


KEYS: Mapping[str, Option] = {  # of every source, whatever its provider
    "provider": Option(str, None, "who sends the callbacks", required=True, unit="name of a provider"),
    "secrets": Option(list, [], "what signatures are checked with, the newest first", unit="texts"),
    "token": Option(str, None, "what every request must carry, in its path or as `?token=`", unit="URL characters"),
    "allow_ips": Option(list, [], "where requests may come from; without any, from everywhere", unit="networks (CIDR)"),
    "unsigned": Option(bool, False, "whether callbacks that prove nothing are accepted"),
    "timezone": Option(str, None, "zone of times without one; without it, the provider's", unit="IANA time zone"),
    "a2p_max_digits": Option(
        int, A2P_MAX_DIGITS, "an address of up to this length is a short code: A2P", unit="digits"
    ),
}


class Configurable(Protocol):
    """What the configuration asks of a provider."""

    SIGNS: bool
    TIMEZONE: str
    OPTIONS: Mapping[str, Option]


@dataclass(frozen=True, slots=True)
class Source:
    """A configured account of a provider: one URL, and what a callback to it must prove."""

    name: str
    provider: str
    secrets: tuple[str, ...] = field(default=(), repr=False)  # newest first
    token: str | None = field(default=None, repr=False)
    allow_ips: tuple[IPv4Network | IPv6Network, ...] = ()
    unsigned: bool = False
    timezone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    a2p_max_digits: int = A2P_MAX_DIGITS
    options: Mapping[str, Any] = field(default_factory=dict)
