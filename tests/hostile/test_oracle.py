"""The oracle agrees with every case about signatures, and the fuzzer's reader takes nothing that can be read twice."""

from typing import Any

import pytest

from shared.providers import PROVIDERS
from tests.hostile import framing, oracle
from tests.hostile.wire import Sent, State, read_all
from tests.providers.support import NOW, cases, request_in, source_in

SIGNATURES = [
    pytest.param(provider, case, id=f"{provider}: {case['name']}")
    for provider, case in cases()
    if case.keys() & {"rejected", "proof"} and provider in oracle.RULES and source_in(provider, case).secrets
]
POST = b"POST /x HTTP/1.1\r\n"


def test_every_rule_has_its_provider() -> None:
    assert oracle.RULES.keys() <= {provider for provider in PROVIDERS if PROVIDERS[provider].SIGNS}


@pytest.mark.parametrize(("provider", "case"), SIGNATURES)
def test_it_agrees_with_the_cases(provider: str, case: dict[str, Any]) -> None:
    request = request_in(case)
    sent = Sent(request.method, framing.target(request) or "/", [*request.headers.items()], request.body)
    now = case.get("received_at", NOW).timestamp()
    proven = oracle.RULES[provider](sent, source_in(provider, case), now)
    if case.get("rejected") != "unreadable":  # where a refusal is a choice, the oracle takes the lenient one
        assert proven is ("proof" in case)


@pytest.mark.parametrize(
    ("wire", "bodies", "state"),
    [
        (b"", [], "complete"),
        (POST + b"\r\n", [b""], "complete"),
        (POST + b"Content-Length: 2\r\n\r\nab", [b"ab"], "complete"),
        (POST + b"Content-Length: 2\r\n\r\nabPOST", [b"ab"], "incomplete"),
        (POST + b"Content-Length: 3\r\n\r\nab", [], "incomplete"),
        (2 * (POST + b"Content-Length: 1\r\n\r\na"), [b"a", b"a"], "complete"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1;x\r\na\r\n2\r\nbc\r\n0\r\nt: v\r\n\r\n", [b"abc"], "complete"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", [], "incomplete"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", [], "ambiguous"),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", [], "ambiguous"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [], "ambiguous"),
        (POST + b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n", [], "ambiguous"),
        (POST + b"Content-Length: +1\r\n\r\na", [], "ambiguous"),
        (POST + b"X: y\r\n Z: folded\r\n\r\n", [], "ambiguous"),
        (POST + b"X : y\r\n\r\n", [], "ambiguous"),
        (POST + b"X: y\nZ: 1\r\n\r\n", [], "ambiguous"),
        (b"POST /x y HTTP/1.1\r\n\r\n", [], "ambiguous"),
    ],
)
def test_requests_are_read_strictly(wire: bytes, bodies: list[bytes], state: State) -> None:
    found, how = read_all(wire)
    assert ([sent.body for sent in found], how) == (bodies, state)
