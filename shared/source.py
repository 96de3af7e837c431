"""A source: a configured account of a provider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from typing import Any, NamedTuple, Protocol
from zoneinfo import ZoneInfo

A2P_MAX_DIGITS = 8  # an address of up to 8 digits is a short code, hence A2P (emnify's own rule)


class Option(NamedTuple):
    """A key that only one provider knows: the type its value must have, the value without one, and what it means.

    A `required` one is what signatures cannot be checked without: a source with secrets must have it. Texts may name
    environment variables.
    """

    type: type
    default: Any
    meaning: str
    required: bool = False


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
