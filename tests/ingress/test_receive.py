"""One request to /callbacks/: what is accepted, what is refused and in which words, and what is kept of it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, get_args
from uuid import UUID

import pytest
from msgspec.structs import replace as replace_fields
from prometheus_client import Counter, Histogram
from starlette.applications import Starlette
from starlette.routing import Route

from ingress.answers import Refusal
from ingress.metrics import ACKNOWLEDGE_SECONDS, PROOFS, REFUSALS, REQUESTS
from ingress.receive import Place, Receiver, shown_path
from shared import catalogue
from shared.callback import Arrival, Callback, time_of
from shared.errors import Rejected
from shared.fingerprint import secret_labels
from shared.providers import PROVIDERS, Reply
from shared.settings import Settings
from shared.signing import Reason
from shared.source import Source
from tests.ingress.conftest import AWAY, NOW, Answer, Caller, Kept, Refusals, ask, settle

TOKEN = "t0ken-that-nobody-guesses"
SETTINGS = Settings(body_limit_bytes=100, body_seconds=0.02, retry_after_seconds=7)
SOURCES = {
    "fleet": Source("fleet", "stub", secrets=("s",)),
    "otp": Source("otp", "stub", secrets=("s",), token=TOKEN),
    "near": Source("near", "stub", secrets=("s",), allow_ips=(ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))),
}


class Stub:
    """A provider that believes everyone, unless it is given an error; it keeps what it was asked."""

    METHODS = ("POST", "GET")
    HEADERS = frozenset({"x-kind"})
    PROOF_HEADERS = frozenset({"x-sign", "authorization"})
    SIGNS = True
    TIMEZONE = "UTC"
    OPTIONS: Mapping[str, Any] = {}
    BODY_LIMIT_BYTES = 1000
    REPLY = Reply(b"fine", "text/plain", None, 202)

    def __init__(self, error: Exception | None = None, reply: Reply = REPLY) -> None:
        self.REPLY = reply
        self.asked: list[Arrival] = []
        self._error = error

    def verify(self, callback: Arrival, source: Source) -> str:
        self.asked.append(callback)
        if self._error is not None:
            raise self._error
        return "secret-1"


class Ingress:
    """The endpoint behind its two addresses, with everything around it in memory."""

    def __init__(
        self, provider: Stub | None = None, committer: Kept | None = None, quarantine: Refusals | None = None
    ) -> None:
        self.provider = provider or Stub()
        self.kept = committer or Kept()
        self.quarantine = quarantine or Refusals()
        providers: Any = {"stub": self.provider}
        receiver = Receiver(SOURCES, providers, self.kept, self.quarantine, SETTINGS, lambda: NOW)  # type: ignore[arg-type]
        routes = [Route("/callbacks/{source}", receiver), Route("/callbacks/{source}/{token}", receiver)]
        self.app = Starlette(routes=routes)

    def ask(self, *args: Any, **keys: Any) -> Answer:
        return asyncio.run(ask(self.app, *args, **keys))


def count(metric: Counter | Histogram, **labels: str) -> float:
    """How often it was counted, over all the labels that are not given."""
    samples = [sample for family in metric.collect() for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name.endswith(("_total", "_count")) and labels.items() <= sample.labels.items()
    )


@pytest.fixture
def outcome() -> Callable[[], dict[tuple[str, str], float]]:
    """The requests counted since the test began, by source and outcome; each outcome is explained in the metric."""

    def counts() -> dict[tuple[str, str], float]:
        samples = [sample for family in REQUESTS.collect() for sample in family.samples]
        return {
            (sample.labels["source"], sample.labels["outcome"]): sample.value
            for sample in samples
            if sample.name.endswith("_total")
        }

    before = counts()

    def since() -> dict[tuple[str, str], float]:
        new = {key: value - before.get(key, 0) for key, value in counts().items() if value != before.get(key, 0)}
        assert {word for _, word in new} <= {*catalogue.REQUESTS.labels["outcome"]}
        return new

    return since


Outcome = Callable[[], dict[tuple[str, str], float]]


# Accepted


def test_an_accepted_callback_is_answered_in_its_providers_words_with_its_id(outcome: Outcome) -> None:
    ingress = Ingress()
    answer = ingress.ask(body=b"x")
    assert (answer.status, answer.body, answer.header("content-type")) == (202, b"fine", "text/plain")
    (callback,) = ingress.kept.callbacks
    assert answer.header("x-callbox-id") == str(callback.id)
    assert (callback.id.version, callback.id.variant) == (7, UUID(int=2 << 62).variant)
    assert abs(time_of(callback.id) - NOW).total_seconds() < 0.001
    assert outcome() == {("fleet", "accepted"): 1}


def test_everything_is_kept_as_it_came_but_for_the_headers_that_nobody_needs() -> None:
    ingress = Ingress()
    body = bytes(range(100))
    headers = [
        ("authorization", "Bearer s3cret"),
        ("content-type", "x/y"),
        ("cookie", "s3cret"),
        ("user-agent", "them"),
        ("x-kind", "one"),
        ("x-kind", "two"),
        ("x-sign", "s3cret"),
    ]
    ingress.ask(method="GET", query="a=%20&b=\xe4", headers=headers, body=[body[:40], body[40:]])
    (callback,) = ingress.kept.callbacks
    assert callback == Callback(
        id=callback.id,
        source="fleet",
        provider="stub",
        received_at=NOW,
        method="GET",
        query="a=%20&b=\xe4",
        headers={"content-type": "x/y", "user-agent": "them", "x-kind": "one, two"},
        body=body,
        remote_ip="192.0.2.7",
    )


def test_the_provider_sees_all_of_the_request_and_a_repeated_header_as_one() -> None:
    ingress = Ingress()
    headers = [("x-sign", "good"), ("authorization", "Bearer a"), ("x-sign", "bad")]
    ingress.ask(headers=headers, body=b"x")
    (callback,) = ingress.provider.asked
    assert callback.headers == {"x-sign": "good, bad", "authorization": "Bearer a"}
    assert (callback.target, callback.body) == ("/callbacks/fleet", b"x")


def test_nothing_is_answered_before_the_callback_is_committed() -> None:
    async def check() -> None:
        ingress = Ingress(committer=Kept(gate=(gate := asyncio.Event())))
        caller = Caller(body=b"x")
        asking = asyncio.create_task(caller.ask(ingress.app))
        await ingress.kept.asked.wait()
        await settle()
        assert caller.sent == []
        gate.set()
        assert (await asking).status == 202

    asyncio.run(check())


def test_the_same_callback_twice_gets_the_same_answer_and_an_id_of_its_own() -> None:
    ingress = Ingress()
    first, second = ingress.ask(body=b"x"), ingress.ask(body=b"x")
    assert (first.status, first.body) == (second.status, second.body)
    ids = [answer.header("x-callbox-id") for answer in (first, second)]
    assert ids == [str(callback.id) for callback in ingress.kept.callbacks]
    assert ids[0] != ids[1]


def test_what_proved_a_callback_and_how_long_it_took_is_counted() -> None:
    (name,) = secret_labels(SOURCES["fleet"])
    proofs, times = count(PROOFS, source="fleet", proof=name), count(ACKNOWLEDGE_SECONDS, source="fleet")
    Ingress().ask()
    assert count(PROOFS, source="fleet", proof=name) == proofs + 1
    assert count(ACKNOWLEDGE_SECONDS, source="fleet") == times + 1


# Address


@pytest.mark.parametrize(
    ("path", "query"),
    [
        (f"/callbacks/otp/{TOKEN}", ""),
        (f"/callbacks/otp/{TOKEN}", "a=1"),
        (f"/callbacks/otp/{TOKEN}", "token=wrong"),
        ("/callbacks/otp", f"token={TOKEN}"),
        ("/callbacks/otp", f"a=1&token={TOKEN}&b=2"),
        ("/callbacks/otp", f"token={TOKEN.replace('-', '%2D')}"),
    ],
)
def test_the_token_may_stand_in_the_path_or_the_query_and_is_not_kept(path: str, query: str) -> None:
    ingress = Ingress()
    assert ingress.ask(path, query=query).status == 202
    (callback,) = ingress.kept.callbacks
    assert TOKEN not in repr(callback)
    assert "token" not in callback.query
    assert ("a=1" in callback.query) is ("a=1" in query)


UNKNOWN = [
    ("/callbacks/nobody", ""),
    ("/callbacks/nobody/token", ""),
    ("/callbacks/FLEET", ""),
    ("/callbacks/fleet\0", ""),
    ("/callbacks/otp", ""),
    ("/callbacks/otp", "token="),
    ("/callbacks/otp", f"token={TOKEN}x"),
    ("/callbacks/otp", f"token={TOKEN[:-1]}"),
    ("/callbacks/otp", f"token={TOKEN.upper()}"),
    ("/callbacks/otp", f"token=wrong&token={TOKEN}"),
    ("/callbacks/otp", f"Token={TOKEN}"),
    ("/callbacks/otp/wrong", ""),
    ("/callbacks/otp/wrong", f"token={TOKEN}"),
    ("/callbacks/otp/\xe4", ""),
    ("/callbacks/otp/\udc80", ""),
    (f"/callbacks/fleet/{TOKEN}", ""),
    ("/callbacks/fleet/x", ""),
]


@pytest.mark.parametrize("reply", [Stub.REPLY, Reply(b"success", "text/plain", b"error")], ids=["plain", "own words"])
def test_a_wrong_address_is_not_found_whatever_is_wrong_with_it(reply: Reply, outcome: Outcome) -> None:
    """At a source in its provider's words; what was wrong with a token is not to be learned."""
    ingress = Ingress(Stub(reply=reply))
    answers = {}
    for path, query in UNKNOWN:
        caller = Caller(query=query, body=b"x")
        caller.scope["path"] = path
        answers[path, query] = asyncio.run(caller.ask(ingress.app))
    assert {answer.status for answer in answers.values()} == {404}
    assert ingress.provider.asked == ingress.kept.callbacks == []
    assert {answer.read for answer in answers.values()} == {0}
    assert {word for _, word in outcome()} == {"not_found"}
    of_sources = {
        str(answer.said)
        for (path, _), answer in answers.items()
        if path.startswith(("/callbacks/otp", "/callbacks/fleet/"))
    }
    assert len(of_sources) == 1
    assert (str(reply.error) in of_sources.pop()) or reply.error is None


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "post", "X"])
def test_a_method_that_the_provider_does_not_use_is_refused_with_those_it_does(method: str, outcome: Outcome) -> None:
    ingress = Ingress()
    answer = ingress.ask(method=method, body=b"x")
    assert (answer.status, answer.header("allow"), answer.error) == (405, "POST, GET", "use POST or GET")
    assert answer.read == 0
    assert ingress.kept.callbacks == []
    assert outcome() == {("fleet", "wrong_method"): 1}


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH"])
def test_without_its_token_an_address_names_no_methods(method: str) -> None:
    assert Ingress().ask("/callbacks/otp", method=method).status == 404


# Body


@pytest.mark.parametrize(
    ("headers", "body", "status", "word"),
    [
        ([("content-length", "101")], [b"x"], 413, "too_large"),
        ([], [b"x" * 60, b"x" * 60], 413, "too_large"),
        ([("content-encoding", "gzip")], [b"x"], 415, "encoding"),
        ([], [], 408, "timeout"),
    ],
)
def test_a_body_that_will_not_do_is_refused_and_the_connection_closed(
    headers: list[tuple[str, str]], body: list[bytes], status: int, word: str, outcome: Outcome
) -> None:
    ingress = Ingress()
    answer = ingress.ask(headers=headers, body=body)
    assert (answer.status, answer.header("connection")) == (status, "close")
    assert answer.error
    assert answer.header("x-callbox-id") is None
    assert ingress.provider.asked == ingress.kept.callbacks == []
    assert outcome() == {("fleet", word): 1}


@pytest.mark.parametrize(("provider_takes", "limit"), [(99, 99), (100, 100), (101, 100)])
def test_a_body_may_be_as_long_as_both_the_provider_and_the_setting_allow(provider_takes: int, limit: int) -> None:
    stub = Stub()
    stub.BODY_LIMIT_BYTES = provider_takes
    ingress = Ingress(stub)
    assert ingress.ask(body=b"x" * limit).status == 202
    answer = ingress.ask(body=b"x" * (limit + 1))
    assert (answer.status, answer.error) == (413, f"the body may have up to {limit} bytes")


def test_a_caller_that_hangs_up_is_not_answered_and_nothing_is_kept(outcome: Outcome) -> None:
    ingress = Ingress()
    caller = Caller(body=[b"begun", None])
    asyncio.run(ingress.app(caller.scope, caller.receive, caller.send))
    assert caller.sent == []
    assert ingress.provider.asked == ingress.kept.callbacks == []
    assert outcome() == {("fleet", "gone"): 1}


# Proof


@pytest.mark.parametrize("reply", [Stub.REPLY, Reply(b"success", "text/plain", b"error")], ids=["plain", "own words"])
def test_what_is_not_proven_gets_one_answer_for_every_reason(
    reply: Reply, outcome: Outcome, log_entries: list[dict[str, Any]]
) -> None:
    answers = []
    for reason in get_args(Reason):
        before = count(REFUSALS, source="fleet", reason=reason)
        ingress = Ingress(Stub(Rejected(reason), reply))
        answers.append(ingress.ask(body=b"x"))
        assert ingress.kept.callbacks == []
        assert count(REFUSALS, source="fleet", reason=reason) == before + 1
        where = {"source": "fleet", "reason": reason, "address": "192.0.2.7"}
        assert log_entries.pop() == {"event": "rejected", "log_level": "warning"} | where
        assert log_entries == []
    assert {answer.status for answer in answers} == {401}
    assert len({str(answer.said) for answer in answers}) == 1
    assert answers[0].header("x-callbox-id") is None
    assert answers[0].body == reply.error or answers[0].error == "not proven"
    assert outcome() == {("fleet", "rejected"): len(answers)}


@pytest.mark.parametrize(
    ("client", "kept"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::7%eth0", "2001:db8::7"),
    ],
)
def test_from_an_allowed_address_a_callback_is_taken_and_the_address_kept(client: str, kept: str) -> None:
    ingress = Ingress()
    assert ingress.ask("/callbacks/near", client=(client, 1)).status == 202
    assert [callback.remote_ip for callback in ingress.kept.callbacks] == [kept]


@pytest.mark.parametrize(
    ("client", "reason"),
    [
        (("198.51.100.7", 1), "address_not_allowed"),
        (("2001:db9::7", 1), "address_not_allowed"),
        (("::ffff:198.51.100.7", 1), "address_not_allowed"),
        (("/run/ingress.sock", 0), "address_unknown"),
        (("", 0), "address_unknown"),
        (None, "address_unknown"),
    ],
)
def test_from_another_address_a_callback_is_not_proven(
    client: tuple[str, int] | None, reason: str, log_entries: list[dict[str, Any]]
) -> None:
    ingress = Ingress()
    answer = ingress.ask("/callbacks/near", client=client, body=b"x")
    unproven = Ingress(Stub(Rejected("signature_wrong"))).ask("/callbacks/near")
    assert (answer.status, answer.body) == (unproven.status, unproven.body)
    assert ingress.provider.asked == ingress.kept.callbacks == []
    assert log_entries[0]["reason"] == reason
    (kept,) = ingress.quarantine.kept
    assert (kept.reason, kept.callback.body, kept.peer) == (reason, b"x", client and client[0])


def test_from_another_address_no_body_is_read_that_would_not_be_kept() -> None:
    ingress = Ingress(quarantine=Refusals(room=False))
    answer = ingress.ask("/callbacks/near", client=("198.51.100.7", 1), body=b"x")
    assert (answer.status, answer.read) == (401, 0)
    assert (ingress.quarantine.kept, ingress.quarantine.dropped) == ([], ["near"])


@pytest.mark.parametrize("client", [None, ("/run/ingress.sock", 0)])
def test_where_any_address_will_do_an_unknown_one_does(client: tuple[str, int] | None) -> None:
    ingress = Ingress()
    assert ingress.ask(client=client).status == 202
    assert [callback.remote_ip for callback in ingress.kept.callbacks] == [None]


# Quarantine


def test_what_is_refused_is_kept_with_what_proves_it_and_without_its_token() -> None:
    ingress = Ingress(Stub(Rejected("signature_wrong")))
    headers = [
        ("x-sign", "one"),
        ("x-sign", "two"),
        ("x-kind", "k"),
        ("host", "callbacks.example.com"),
        ("x-forwarded-proto", "https"),
        ("cookie", "s3cret"),
    ]
    answer = ingress.ask(f"/callbacks/otp/{TOKEN}", query=f"a=1&token={TOKEN}&b=%20", headers=headers, body=b"x")
    assert answer.status == 401
    (kept,) = ingress.quarantine.kept
    assert (kept.reason, kept.path, kept.peer) == ("signature_wrong", "/callbacks/otp/…", "192.0.2.7")
    assert kept.callback.headers == {
        "x-sign": "one, two",
        "x-kind": "k",
        "host": "callbacks.example.com",
        "x-forwarded-proto": "https",
    }
    assert TOKEN not in repr(kept)
    (asked,) = ingress.provider.asked
    again = kept.arrival(SOURCES["otp"], kept.callback.remote_ip)
    assert replace_fields(again, headers={}) == replace_fields(asked, headers={})
    assert asked.headers.items() <= again.headers.items()


def test_what_is_accepted_or_reaches_no_source_is_not_kept() -> None:
    ingress = Ingress()
    for path, method in (("/callbacks/fleet", "POST"), ("/callbacks/nobody", "POST"), ("/callbacks/fleet", "PUT")):
        ingress.ask(path, method=method)
    assert ingress.quarantine.kept == []


REFUSED_OTHERWISE = [  # a request, and the word that counts it
    ({"path": "/callbacks/nobody"}, "", "not_found"),
    ({"path": "/callbacks/otp/wrong"}, "otp", "not_found"),
    ({"method": "PUT"}, "fleet", "wrong_method"),
    ({"body": []}, "fleet", "timeout"),
    ({"body": b"x" * 101}, "fleet", "too_large"),
    ({"headers": [("content-encoding", "gzip")]}, "fleet", "encoding"),
]


@pytest.mark.parametrize(("request_", "source", "word"), REFUSED_OTHERWISE, ids=[each[2] for each in REFUSED_OTHERWISE])
def test_what_is_refused_otherwise_is_counted_by_its_reason_and_logged_once_a_minute(
    request_: dict[str, Any], source: str, word: str, outcome: Outcome, log_entries: list[dict[str, Any]]
) -> None:
    ingress = Ingress()
    for _ in range(3):
        ingress.ask(**request_)
    assert outcome() == {(source, word): 3}
    (line,) = log_entries
    assert line["source"] == source
    assert (line["event"], line.get("outcome")) == (
        ("no such callback address", None) if word == "not_found" else ("refused", word)
    )


# Failures of ours (promise P6)


@pytest.mark.parametrize("reply", [Stub.REPLY, Reply(b"success", "text/plain", b"error")], ids=["plain", "own words"])
@pytest.mark.parametrize(
    ("in_verify", "in_commit", "logged"),
    [(None, AWAY, []), (None, RuntimeError("s"), ["request failed"]), (RuntimeError("s"), None, ["request failed"])],
    ids=["Redis is away", "a fault in the commit", "a fault in the provider"],
)
def test_a_failure_of_ours_asks_the_provider_to_send_again(
    in_verify: Exception | None,
    in_commit: Exception | None,
    logged: list[str],
    reply: Reply,
    outcome: Outcome,
    log_entries: list[dict[str, Any]],
) -> None:
    ingress = Ingress(Stub(in_verify, reply), Kept(in_commit))
    answer = ingress.ask(body=b"x")
    assert (answer.status, answer.header("retry-after")) == (503, "7")
    assert answer.body == reply.error or answer.error == "temporarily unavailable, send it again"
    assert answer.header("x-callbox-id") is None
    assert ingress.kept.callbacks == []
    assert [event["event"] for event in log_entries] == logged
    assert outcome() == {("fleet", "unavailable"): 1}


def test_the_log_of_a_failure_has_no_word_of_the_request(log_entries: list[dict[str, Any]]) -> None:
    Ingress(Stub(RuntimeError())).ask(f"/callbacks/otp/{TOKEN}", query="phone=%2B49151", body=b"text")
    (event,) = log_entries
    assert event.keys() == {"event", "log_level", "source", "error", "exc_info"}
    assert event["source"] == "otp"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/callbacks/unknown", "/callbacks/unknown"),
        (f"/callbacks/otp/{TOKEN}x", "/callbacks/otp/…"),
        (f"//callbacks/otp/{TOKEN}", "//callbacks/otp/…"),
        (f"/Callbacks/{TOKEN}?token={TOKEN}", "/Callbacks/…"),
        ("/callback/fleet", "/callback/fleet"),
        ("/callbacks/" + "x" * 200, "/callbacks/" + "x" * 69),
    ],
)
def test_a_call_to_a_wrong_address_is_logged_without_tokens(target: str, shown: str) -> None:
    assert shown_path(target, {TOKEN}) == shown


def test_who_calls_a_wrong_address_is_seen(log_entries: list[dict[str, Any]], outcome: Outcome) -> None:
    ingress = Ingress()
    assert ingress.ask("/callbacks/unknown", query="token=secret").status == 404
    (event,) = log_entries
    assert (event["event"], event["path"]) == ("no such callback address", "/callbacks/unknown")
    assert event["address"] == "192.0.2.7"
    assert outcome() == {("", "not_found"): 1}


def test_of_a_wrong_address_behind_a_proxy_the_client_is_seen(log_entries: list[dict[str, Any]]) -> None:
    settings = replace(SETTINGS, trusted_proxies="192.0.2.0/24")
    providers: Any = {"stub": Stub()}
    headers = ((b"x-forwarded-for", b"198.51.100.9"),)

    def receiver() -> Receiver:
        return Receiver(SOURCES, providers, Kept(), Refusals(), settings, lambda: NOW)  # type: ignore[arg-type]

    async def call() -> None:
        with pytest.raises(Refusal):
            receiver().admit(Place("unknown", None), "POST", "/callbacks/unknown", headers, "192.0.2.7")
        receiver().missed("/callback/fleet", headers, "192.0.2.7")

    asyncio.run(call())
    assert [event["address"] for event in log_entries] == ["198.51.100.9", "198.51.100.9"]


# The real providers


@pytest.mark.parametrize("name", PROVIDERS)
def test_of_every_provider_an_unproven_callback_is_refused_and_a_token_will_do(name: str) -> None:
    async def check() -> None:
        provider, kept = PROVIDERS[name], Kept()
        source = Source("fleet", name, token=TOKEN)
        sources = {"fleet": replace(source, token=None), "otp": replace(source, name="otp")}
        receiver = Receiver(sources, PROVIDERS, kept, Refusals(), SETTINGS, lambda: NOW)  # type: ignore[arg-type]
        app = Starlette(routes=[Route("/callbacks/{source}", receiver)])
        for method in provider.METHODS:
            refused = await ask(app, method=method)
            assert refused.status == 401
            assert provider.REPLY.error is None or refused.body == provider.REPLY.error
            accepted = await ask(app, "/callbacks/otp", method=method, query=f"token={TOKEN}")
            assert (accepted.status, accepted.body) == (provider.REPLY.status, provider.REPLY.body)
        assert [callback.method for callback in kept.callbacks] == list(provider.METHODS)

    asyncio.run(check())
