"""Whose address counts: behind trusted proxies the first untrusted one from the right."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingress.address import Proxies, check_address, read_address
from shared.errors import Rejected
from shared.source import Source

PROXIES = Proxies([ip_network(network) for network in ("10.0.0.0/8", "2001:db8:1::/48", "127.0.0.1/32")])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ('"192.0.2.7:4711"', "192.0.2.7"),
        ("2001:DB8::0:7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:80", "192.0.2.7"),
        ("::ffff:c000:207", "192.0.2.7"),
        *((junk, None) for junk in (None, "", "unknown", "_hidden", "192.0.2", "192.0.2.7.8", "0300.0.2.7", "٣.0.2.7")),
        ("/run/ingress.sock", None),
        ("192.0.2.7/24", None),
        ("x" * 10_000, None),
    ],
)
def test_an_address_is_read_without_port_brackets_and_zone(text: str | None, address: str | None) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.7", None, "192.0.2.7"),
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),  # whoever calls himself may write anything
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("2001:db8:1::5", "[2001:db8:2::1]:80", "2001:db8:2::1"),
        ("10.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),  # the first one is the client's own word
        ("10.0.0.1", "203.0.113.9, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.9,198.51.100.1:50,10.9.9.9:60", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, unknown", None),
        ("10.0.0.1", "198.51.100.1, ", None),
        ("10.0.0.1", "198.51.100.1" + ", 10.0.0.1" * 1000, None),
        (None, "198.51.100.1", None),
    ],
)
def test_the_client_is_the_first_untrusted_address_from_the_right(
    peer: str | None, forwarded: str | None, client: str | None
) -> None:
    assert PROXIES.client(peer, forwarded) == client


@given(st.ip_addresses(), st.text(max_size=60))
def test_without_a_trusted_proxy_the_header_says_nothing(peer: object, forwarded: str) -> None:
    assert Proxies(()).client(str(peer), forwarded) == read_address(str(peer))


@given(st.ip_addresses(v=4), st.lists(st.ip_addresses(v=4).map(str) | st.text(max_size=20)))
def test_what_a_client_writes_before_its_own_address_changes_nothing(client: object, written: list[str]) -> None:
    if ip_address(str(client)) not in ip_network("10.0.0.0/8") and str(client) != "127.0.0.1":
        assert PROXIES.client("10.0.0.1", ", ".join([*written, str(client)])) == str(client)


def test_a_source_takes_callbacks_from_its_networks_only() -> None:
    source = Source("near", "stub", allow_ips=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")))
    for good in ("192.0.2.7", "2001:db8::7"):
        check_address(source, good)
    for bad, reason in (("198.51.100.7", "address_not_allowed"), (None, "address_unknown")):
        with pytest.raises(Rejected, match=reason):
            check_address(source, bad)
    check_address(Source("far", "stub"), None)
