"""The simulator of the providers, against the providers' own parsing."""

import shlex
from datetime import UTC, datetime
from itertools import islice
from random import Random
from typing import get_args

import pytest

from deploy.local import simulator
from deploy.local.simulator import Kind
from shared.callback import Callback, Request, new_id
from shared.errors import Malformed
from shared.events import DeliveryReport, InboundMessage
from shared.payload.notes import ENCODING_CONTRADICTED
from shared.providers import PROVIDERS
from shared.source import Source
from workers.classify import classify

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "a-secret-of-a-source-that-is-long"


def test_the_same_dice_make_the_same_event_and_others_another() -> None:
    for kind in get_args(Kind):
        assert simulator.event(kind, NOW, Random(1)) == simulator.event(kind, NOW, Random(1))
        assert simulator.event(kind, NOW, Random(1)) != simulator.event(kind, NOW, Random(2))
    assert isinstance(simulator.event("mo", NOW, Random(1)), InboundMessage)
    assert isinstance(simulator.event("dr", NOW, Random(1)), DeliveryReport)


def test_numbers_are_of_a_range_that_is_given_to_nobody() -> None:
    for seed in range(50):
        message = simulator.event("mo", NOW, Random(seed))
        assert isinstance(message, InboundMessage)
        assert message.sender
        assert message.sender.startswith("+4477009")


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_request_is_one_that_its_provider_understands(provider: str, kind: Kind) -> None:
    source = Source("s", provider, token="a-token")
    request = simulator.request(source, simulator.event(kind, NOW, Random(1)))
    assert request.path == "/callbacks/s/a-token"
    callback = Callback(
        id=new_id(NOW),
        source="s",
        provider=provider,
        received_at=NOW,
        method=request.method,
        query=request.query,
        headers=request.headers,
        body=request.body,
    )
    (event,) = PROVIDERS[provider].parse(callback, source)
    assert isinstance(event, InboundMessage if kind == "mo" else DeliveryReport)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_nothing_about_what_it_makes_is_odd(provider: str) -> None:
    source = Source("s", provider, unsigned=True)
    for seed in range(20):
        request = simulator.request(source, simulator.event("mo", NOW, Random(seed)))
        callback = Callback(
            id=new_id(NOW),
            source="s",
            provider=provider,
            received_at=NOW,
            method=request.method,
            query=request.query,
            headers=request.headers,
            body=request.body,
        )
        (event,) = PROVIDERS[provider].parse(callback, source)
        assert not isinstance(event, Malformed)
        assert ENCODING_CONTRADICTED not in classify(event, source).extra.get("notes", [])


def test_requests_alternate_between_the_kinds_and_none_comes_twice() -> None:
    source = Source("s", "emnify", unsigned=True)
    made = list(islice(simulator.requests(source, ["mo", "dr"], 4, Random(1)), 9))
    assert len(made) == 4
    assert len({request.body for request in made}) == 4
    assert [b"payload" in request.body for request in made] == [True, False, True, False]


def test_a_line_for_a_shell_has_the_request_and_nothing_else() -> None:
    request = Request(method="POST", path="/callbacks/a", headers={"x-a": "it's; rm"}, body=b'{"a": "$(b)"}')
    words = shlex.split(simulator.curl("http://127.0.0.1:1", request))
    assert words[:4] == ["curl", "-i", "-X", "POST"]
    assert words[4:] == ["-H", "x-a: it's; rm", "--data-raw", '{"a": "$(b)"}', "http://127.0.0.1:1/callbacks/a"]
