"""Every provider explains its proof: step by step, never against `verify`, and without showing what it looks at."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as replace_fields

from ingress.mistakes import mistakes
from shared import providers
from shared.callback import Arrival, Request
from shared.providers import PROVIDERS, Finding, explain, refusal_of
from shared.source import Source
from tests.providers.support import JUNK, NOW, callback_of, cases, request_in, source_in, source_of
from tests.providers.test_battery import (
    ANY_TEXT,
    HEADERS,
    JWT,
    MESSAGE,
    NEW,
    OLD,
    OTHER,
    PROOF,
    signature,
    signed,
    token,
    with_signature,
)

CASES = [pytest.param(provider, case, id=f"{provider}: {case['name']}") for provider, case in cases()]


def explained(arrival: Arrival, source: Source) -> list[Finding]:
    """What is found; the last step, and no other, has the reason for which the proof is refused."""
    provider = PROVIDERS[source.provider]
    found = list(explain(provider, arrival, source))
    assert found
    assert found[-1].reason == refusal_of(provider, arrival, source)
    assert all(finding.reason is None for finding in found[:-1])
    assert all(finding.step and finding.found for finding in found)
    return found


def why(arrival: Arrival, source: Source, *others: Source) -> list[str]:
    return list(dict.fromkeys(mistakes(PROVIDERS[source.provider], arrival, source, others)))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_reason_has_one_step_and_secrets_are_one_of_them(provider: str) -> None:
    reasons = [reason for step in PROVIDERS[provider].PROOF for reason in step.reasons]
    assert len(reasons) == len(set(reasons))
    assert ("signature_wrong" in reasons) is PROVIDERS[provider].SIGNS


@pytest.mark.parametrize(("provider", "case"), CASES)
def test_the_steps_end_as_verify_does(provider: str, case: dict[str, Any]) -> None:
    source = source_in(provider, case)
    arrival = callback_of(provider, request_in(case), case.get("received_at", NOW))
    assert explained(arrival, source)[-1].reason == case.get("rejected")


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("provider", PROOF)
def test_junk_for_a_signature_is_explained_without_any_of_it(provider: str, junk: str) -> None:
    found = explained(with_signature(signed(provider), junk), source_of(provider, secrets=[NEW]))
    if len(junk) > 10:
        assert junk not in str(found)


@pytest.mark.parametrize("provider", PROVIDERS)
@given(
    headers=st.dictionaries(st.sampled_from(HEADERS), ANY_TEXT),
    method=st.sampled_from(["GET", "POST", "PATCH"]),
    body=st.binary(),
    query=st.text(),
    secrets=st.lists(st.text(min_size=1), max_size=3),
    token=st.none() | st.just("t"),
)
def test_whatever_arrives_is_explained_as_verify_decides(
    provider: str, headers: dict[str, str], method: str, body: bytes, query: str, secrets: list[str], token: str | None
) -> None:
    arrival = callback_of(provider, Request(method=method, headers=headers, body=body, query=query))
    source = source_of(provider, secrets=secrets, token=token)
    explained(arrival, source)
    list(mistakes(PROVIDERS[provider], arrival, source, [source]))


@pytest.mark.parametrize("provider", JWT)
@given(parts=st.lists(st.binary(max_size=60) | st.sampled_from([b'{"alg":"HS256"}', b"{}"]), min_size=2, max_size=4))
def test_a_jwt_of_any_parts_is_explained(provider: str, parts: list[bytes]) -> None:
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    explained(with_signature(signed(provider), f"Bearer {text}"), source_of(provider, secrets=[NEW]))


@pytest.mark.parametrize("provider", PROOF)
def test_nothing_private_is_shown(provider: str) -> None:
    """Neither secrets, nor the signature, nor what the body and the query say, whatever the proof comes to."""
    arrival = signed(provider, OLD)
    values = [value for _, value in parse_qsl(arrival.body.decode())] if b"=" in arrival.body else []
    private = [OLD, NEW, OTHER, signature(arrival), "3725555555", "Grüße", *(each for each in values if len(each) > 5)]
    for secrets in ([NEW], [NEW, OLD], [NEW, f'"{OLD}"'], [OTHER]):
        source = source_of(provider, secrets=secrets, token="t0ken-t0ken")
        place = "/callbacks/test/t0ken-t0ken?phone=3725555555&token=t0ken-t0ken"
        elsewhere = callback_of(
            provider,
            Request(method=arrival.method, path=place, headers=arrival.headers, body=arrival.body),
            arrival.received_at,
        )
        for each in (arrival, elsewhere):
            said = str(explained(each, source)) + str(why(each, source, replace(source, name="b", secrets=(OLD,))))
            assert not [text for text in [*private, "t0ken"] if text in said]


@pytest.mark.parametrize("provider", PROOF)
def test_the_secret_that_made_the_signature_is_named_by_its_position(provider: str) -> None:
    arrival = signed(provider, OLD)
    found = {step: found for step, found, _ in explained(arrival, source_of(provider, secrets=[NEW, OLD]))}
    assert found["secret"].endswith("; secret 2 of 2 made it")
    assert explained(arrival, source_of(provider, secrets=[NEW, OTHER]))[-1].found.endswith("none of 2 secrets made it")
    assert explained(arrival, source_of(provider, secrets=[NEW]))[-1].found.endswith("; the secret did not make it")


# Mistakes

KEY = "00112233445566778899aabbccddeeff"  # what the provider signs with, or its bytes, in hex
BADLY_COPIED = [
    (KEY, f'"{KEY}"', "without the quotation marks around it"),
    (KEY, f"'{KEY}'", "without the quotation marks around it"),
    (KEY, f"{KEY}\n", "without the blanks or line breaks around it"),
    (KEY, f"  {KEY}", "without the blanks or line breaks around it"),
    (f"{KEY}\n", KEY, "with a line break at its end, which the provider seems to have"),
    (KEY, KEY.upper(), "in lower case"),
    (KEY.upper(), KEY, "in upper case"),
    ("a/b+c", "a%2Fb%2Bc", "with its %XX decoded"),
    (bytes.fromhex(KEY).decode("utf-8", "surrogateescape"), KEY, "as the bytes that it spells in hex"),
    ("key of 9b", base64.b64encode(b"key of 9b").decode(), "as the bytes that it spells in Base64"),
    ("key of 9b", base64.b64encode(b"key of 9b").decode().rstrip("="), "as the bytes that it spells in Base64"),
    (b"key of 9b".hex(), "key of 9b", "written in hex"),
    (base64.b64encode(b"key of 9b").decode(), "key of 9b", "written in Base64"),
]


@pytest.mark.parametrize(("right", "given", "how"), BADLY_COPIED, ids=[each[2] for each in BADLY_COPIED])
@pytest.mark.parametrize("provider", PROOF)
def test_a_secret_that_was_copied_badly_is_recognised(provider: str, right: str, given: str, how: str) -> None:
    source = source_of(provider, secrets=[OTHER, given])
    arrival = signed(provider, right)
    assert explained(arrival, source)[-1].reason == "signature_wrong"
    assert f"secret 2 would do {how}: correct it in the configuration" in why(arrival, source)


@pytest.mark.parametrize("provider", PROOF)
def test_the_secret_of_another_source_is_recognised(provider: str) -> None:
    source = source_of(provider, secrets=[NEW])
    other = replace(source, name="other", secrets=(OTHER, OLD))
    of_another_provider = Source("foreign", "none", secrets=(OLD,))
    (sentence,) = why(signed(provider, OLD), source, source, of_another_provider, other)
    assert sentence.startswith("secret 2 of other made the signature: give test that secret too")


@pytest.mark.parametrize("provider", PROOF)
def test_no_mistake_is_made_up(provider: str) -> None:
    source = source_of(provider, secrets=[NEW, OTHER])
    assert why(signed(provider, OLD), source, source) == []


CHANGED_BODIES = [
    (lambda body: body + b"\n", "had no blanks or line breaks around it"),
    (lambda body: b"\xef\xbb\xbf" + body, "had no byte order mark"),
    (lambda body: body.replace(b'":', b'": ').replace(b',"', b', "'), "was the same JSON in another spelling"),
]


@pytest.mark.parametrize(("change", "how"), CHANGED_BODIES, ids=[each[1] for each in CHANGED_BODIES])
@pytest.mark.parametrize("provider", [provider for provider, proof in PROOF.items() if proof["covers_body"]])
def test_a_body_that_something_on_the_way_changed_is_recognised(provider: str, change: Any, how: str) -> None:
    arrival = signed(provider)
    changed = replace_fields(arrival, body=change(arrival.body))
    if changed.body == arrival.body:
        pytest.skip("its body is no JSON")
    found = why(changed, source_of(provider, secrets=[NEW]))
    assert f"the body that was signed {how}: something on the way changes it, a proxy perhaps" in found


URL_OPTIONS = [
    (provider, key) for provider in PROOF for key, option in PROVIDERS[provider].OPTIONS.items() if option.unit == "URL"
]
MOVED = [
    ("https://callbacks.example.com", "http://callbacks.example.com", {}),
    ("https://callbacks.example.com", "https://10.0.0.7:8000", {"host": "callbacks.example.com"}),
    ("https://callbacks.example.com", "http://internal", {"x-forwarded-host": "callbacks.example.com, proxy"}),
    ("https://callbacks.example.com", "https://callbacks.example.com/sms", {}),
]


@pytest.mark.parametrize(("right", "given", "headers"), MOVED, ids=["scheme", "host", "forwarded host", "path"])
@pytest.mark.parametrize(("provider", "key"), URL_OPTIONS)
def test_a_url_that_is_another_one_behind_a_proxy_is_recognised(
    provider: str, key: str, right: str, given: str, headers: dict[str, str]
) -> None:
    request = replace_fields(PROVIDERS[provider].render(MESSAGE), path="/callbacks/test")
    request = providers.sign(request, source_of(provider, **{"secrets": [NEW], key: right})).with_headers(headers)
    source = source_of(provider, **{"secrets": [NEW], key: given})
    (sentence,) = why(callback_of(provider, request), source)
    assert sentence == f"{right} is how the URL begins that was signed, {key} is {given}: set {key} to that"


@pytest.mark.parametrize(("provider", "key"), URL_OPTIONS)
@pytest.mark.parametrize(
    ("signed_at", "came_to", "how"),
    [
        ("/callbacks/test", "/callbacks/test/", "has no slash at the end of its path"),
        ("/callbacks/test/", "/callbacks/test", "has a slash at the end of its path"),
        ("/callbacks/test", "/callbacks/test?x=1", "has no parameters"),
    ],
)
def test_a_url_that_is_changed_on_the_way_is_recognised(
    provider: str, key: str, signed_at: str, came_to: str, how: str
) -> None:
    source = source_of(provider, secrets=[NEW])
    request = providers.sign(replace_fields(PROVIDERS[provider].render(MESSAGE), path=signed_at), source)
    arrival = callback_of(provider, replace_fields(request, path=came_to))
    assert why(arrival, source) == [f"the URL that was signed {how}: something on the way changes it, a proxy perhaps"]


# Clocks


@pytest.mark.parametrize("provider", JWT)
def test_the_clock_of_a_jwt_is_compared_with_the_time_of_receipt(provider: str) -> None:
    now = int(NOW.timestamp())
    claims = {"exp": now - 3600, "iat": now - 7200}
    arrival = replace_fields(with_signature(signed(provider), token(claims, {"alg": "HS256"})), received_at=NOW)
    last = explained(arrival, source_of(provider, secrets=[NEW]))[-1]
    assert last == Finding(
        "clock", "exp 3,600 s before it came, iat 7,200 s before it came; 60 s are allowed", "token_expired"
    )


@pytest.mark.parametrize("provider", JWT)
def test_the_algorithm_of_a_jwt_is_named_if_it_is_one(provider: str) -> None:
    for algorithm, shown in (("RS256", "RS256"), ("none", "none"), ("+3725555555", "another"), (None, "another")):
        arrival = with_signature(signed(provider), token({}, {"alg": algorithm}))
        last = explained(arrival, source_of(provider, secrets=[NEW]))[-1]
        assert last == Finding("algorithm", f"HS256, HS384 or HS512 expected, {shown} found", "algorithm_refused")


def test_a_provider_that_signs_its_time_names_the_difference() -> None:
    source = source_of("nxcloud", secrets=[NEW])
    arrival = signed("nxcloud")
    late = replace_fields(arrival, received_at=arrival.received_at + timedelta(hours=1))
    last = explained(late, source)[-1]
    assert last.reason == "timestamp_outside_window"
    assert last.found.endswith("s before it came; 300 s are allowed")
