"""One battery for every provider: what must be refused, whatever the provider's way of signing."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shared import providers
from shared.callback import Arrival, Request
from shared.errors import Rejected
from shared.events import DeliveryReport, InboundMessage, Status
from shared.providers import PROVIDERS
from shared.signing import Reason
from tests.providers.support import JUNK, NOW, PATH, at, callback_of, is_respelled, prove, source_of, tables

OLD, NEW, OTHER = "old secret, long enough for anyone", "short", "another secret, of someone else"
MESSAGE = InboundMessage(key=(), message_id="1", sender="+3725555555", recipient="1234", text="Grüße", sent_at=NOW)
RECEIPT = DeliveryReport(key=(), message_id="1", recipient="+3725555555", status=Status.DELIVERED, occurred_at=NOW)
REASONS = get_args(Reason)
PROOF = {provider: tables(provider)["proof"] for provider in PROVIDERS if PROVIDERS[provider].SIGNS}
HEX = [provider for provider, proof in PROOF.items() if proof["scheme"] == "hex"]
BASE64 = [provider for provider, proof in PROOF.items() if proof["scheme"] == "base64"]
JWT = [provider for provider, proof in PROOF.items() if proof["scheme"] == "jwt"]


def signed(provider: str, secret: str = NEW) -> Arrival:
    request = replace(PROVIDERS[provider].render(MESSAGE), path=PATH)
    request = providers.sign(request, source_of(provider, secrets=[secret]))
    return callback_of(provider, request, datetime.now(UTC))


def with_signature(callback: Arrival, signature: str | None) -> Arrival:
    headers = {name: value for name, value in callback.headers.items() if name != PROOF[callback.provider]["header"]}
    if signature is not None:
        headers[PROOF[callback.provider]["header"]] = signature
    return replace(callback, headers=headers)


def verify(callback: Arrival, *secrets: str, **keys: Any) -> str:
    return prove(callback, source_of(callback.provider, secrets=secrets, **keys))


def refusal(callback: Arrival, *secrets: str, **keys: Any) -> str:
    with pytest.raises(Rejected) as caught:
        verify(callback, *secrets, **keys)
    assert caught.value.reason in REASONS
    return caught.value.reason


def signature(callback: Arrival) -> str:
    return callback.headers[PROOF[callback.provider]["header"]]


def test_every_provider_is_here() -> None:
    assert PROOF.keys() == {provider for provider in PROVIDERS if PROVIDERS[provider].SIGNS} == {*HEX, *BASE64, *JWT}


@pytest.mark.parametrize("event", [MESSAGE, RECEIPT], ids=["message", "receipt"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_source_without_any_proof_refuses(provider: str, event: InboundMessage | DeliveryReport) -> None:
    plain = callback_of(provider, PROVIDERS[provider].render(event))
    assert refusal(plain) == "unsigned"
    assert verify(plain, token="t") == "token"
    assert verify(plain, token="t", unsigned=True) == "token"
    assert verify(plain, unsigned=True) == "unsigned"


@pytest.mark.parametrize("provider", PROOF)
def test_a_signature_is_not_enough_without_a_secret_to_check_it(provider: str) -> None:
    assert refusal(signed(provider)) == "unsigned"


@pytest.mark.parametrize("provider", PROOF)
def test_the_secret_that_matched_is_named(provider: str) -> None:
    assert verify(signed(provider, NEW), NEW) == "secret-1"
    assert verify(signed(provider, NEW), NEW, OLD) == "secret-1"
    assert verify(signed(provider, OLD), NEW, OLD) == "secret-2"


@pytest.mark.parametrize("provider", PROOF)
def test_a_wrong_secret(provider: str) -> None:
    assert refusal(signed(provider, OTHER), NEW, OLD) == "signature_wrong"


@pytest.mark.parametrize("provider", PROOF)
def test_a_missing_signature_is_refused_whatever_else_is_accepted(provider: str) -> None:
    plain = with_signature(signed(provider), None)
    assert refusal(plain, NEW, token="t", unsigned=True) == "signature_missing"
    assert refusal(replace(plain, headers={}), NEW, token="t", unsigned=True) == "signature_missing"


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize("provider", PROOF)
def test_junk_for_a_signature(provider: str, junk: str) -> None:
    assert refusal(with_signature(signed(provider), junk), NEW) in ("signature_missing", "signature_malformed")


@pytest.mark.parametrize("provider", PROOF)
def test_a_signature_cut_short_or_drawn_out(provider: str) -> None:
    callback = signed(provider)
    whole = signature(callback)
    for end in range(len(whole)):
        refusal(with_signature(callback, whole[:end]), NEW)
    for more in ("0", "A", " ", "\n", ".", whole):
        refusal(with_signature(callback, whole + more), NEW)


@pytest.mark.parametrize("provider", HEX)
def test_every_digit_of_a_hex_signature_counts_but_not_its_case(provider: str) -> None:
    callback = signed(provider)
    right = signature(callback)
    assert verify(with_signature(callback, right.upper()), NEW) == "secret-1"
    for place, digit in enumerate(right):
        wrong = right[:place] + ("0" if digit != "0" else "1") + right[place + 1 :]
        assert refusal(with_signature(callback, wrong), NEW) == "signature_wrong"


@pytest.mark.parametrize("provider", BASE64)
def test_every_character_of_a_base64_signature_counts_and_its_case_too(provider: str) -> None:
    callback = signed(provider)
    right = signature(callback)
    assert refusal(with_signature(callback, right.swapcase()), NEW) == "signature_wrong"
    significant = right.rstrip("=")
    for place, character in enumerate(significant[:-1]):  # of the last one some bits are padding
        wrong = right[:place] + ("A" if character != "A" else "B") + right[place + 1 :]
        assert refusal(with_signature(callback, wrong), NEW) == "signature_wrong"
        for junk in (
            "-",
            "_",
            "=",
            " ",
            "\n",
            ",",
            "%",
            "\0",
            "é",
            "\udcff",
        ):  # the first two are of the other alphabet
            wrong = right[:place] + junk + right[place + 1 :]
            assert refusal(with_signature(callback, wrong), NEW) == "signature_malformed"


@pytest.mark.parametrize("provider", BASE64)
def test_a_base64_signature_in_any_other_form_is_malformed(provider: str) -> None:
    callback = signed(provider)
    right = signature(callback)
    digest = base64.b64decode(right)
    others = [
        digest.hex(), digest.hex().upper(), digest.decode("latin-1"), base64.b85encode(digest).decode(),
        base64.b32encode(digest).decode(), base64.b64encode(right.encode()).decode(), right + "\n",
        base64.b64encode(digest[:-1]).decode(), base64.b64encode(digest + b"\0").decode(),
        f"{right}, {right}", f"{right},{right}", f"{right}, ", f", {right}", f'"{right}"', f"sha1={right}",
    ]  # fmt: skip
    for other in others:
        assert refusal(with_signature(callback, other), NEW) == "signature_malformed"


@pytest.mark.parametrize("provider", [provider for provider, proof in PROOF.items() if proof["covers_body"]])
def test_every_bit_of_the_body_counts(provider: str) -> None:
    callback = signed(provider)
    body = callback.body
    bits = (1 << bit for bit in range(8 * len(body)))
    flipped = ((int.from_bytes(body) ^ bit).to_bytes(len(body)) for bit in bits)
    for other in (*flipped, body + b" ", body + b"\0", b" " + body, body[:-1], b""):
        altered = replace(callback, body=other)
        if not is_respelled(altered, callback, source_of(provider)):
            assert refusal(altered, NEW) == "signature_wrong"


@pytest.mark.parametrize("provider", PROOF)
def test_what_the_signature_covers_is_as_the_cases_declare(provider: str) -> None:
    """`covers_body` and `covers_url` of `[proof]`: what one denies may be changed, which the provider's file should
    know, and what it claims may not."""
    callback = signed(provider)
    for part, altered in {
        "body": replace(callback, body=callback.body + b"&x=1"),
        "path": at(callback, callback.target + "x"),
        "query": at(callback, callback.target + "?x=1"),
    }.items():
        if PROOF[provider].get("covers_body" if part == "body" else "covers_url", False):
            assert refusal(altered, NEW) == "signature_wrong", part
        else:
            assert verify(altered, NEW) == "secret-1", part


# ---- JWT


def token(claims: object, header: object, secret: str = NEW, algorithm: str = "sha256") -> str:
    message = f"{_base64(json.dumps(header).encode())}.{_base64(json.dumps(claims).encode())}"
    return f"Bearer {message}.{_base64(hmac.digest(secret.encode(), message.encode(), algorithm))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("provider", JWT)
@pytest.mark.parametrize(("name", "algorithm"), [("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")])
def test_jwt_algorithms(provider: str, name: str, algorithm: str) -> None:
    callback = signed(provider)
    assert verify(with_signature(callback, token({}, {"alg": name}, algorithm=algorithm)), NEW) == "secret-1"
    other = "sha256" if algorithm != "sha256" else "sha512"
    wrong = token({}, {"alg": name}, algorithm=other)
    assert refusal(with_signature(callback, wrong), NEW) == "signature_wrong"


@pytest.mark.parametrize("provider", JWT)
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "", None, "RS256", "ES256", "PS256", "EdDSA", "hs256", "HS1", 1, []]
)
def test_jwt_other_algorithms_are_refused(provider: str, algorithm: object) -> None:
    callback = signed(provider)
    for authorization in (token({}, {"alg": algorithm}), token({}, {"alg": algorithm}).rpartition(".")[0] + "."):
        assert refusal(with_signature(callback, authorization), NEW) == "algorithm_refused"


@pytest.mark.parametrize("provider", JWT)
def test_jwt_upper_case_is_another_token(provider: str) -> None:
    callback = signed(provider)
    refusal(with_signature(callback, signature(callback).upper()), NEW)


@pytest.mark.parametrize("provider", JWT)
@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": -61}, "token_expired"),
        ({"exp": -60}, "token_expired"),
        ({"exp": -59}, None),
        ({"nbf": 61}, "token_not_yet_valid"),
        ({"nbf": 60}, None),
        ({"iat": 10**6}, None),  # no condition of RFC 7519
        ({"iat": 60, "nbf": -999, "exp": 999, "aud": "someone", "sub": 7, "jti": [], "iss": None}, None),
    ],
)
def test_jwt_times(provider: str, claims: dict[str, Any], reason: str | None) -> None:
    now = int(NOW.timestamp())
    shifted = {name: now + value if name in ("exp", "nbf", "iat") else value for name, value in claims.items()}
    callback = replace(with_signature(signed(provider), token(shifted, {"alg": "HS256"})), received_at=NOW)
    if reason is None:
        assert verify(callback, NEW) == "secret-1"
    else:
        assert refusal(callback, NEW) == reason


@pytest.mark.parametrize("provider", JWT)
@pytest.mark.parametrize(
    "claims",
    [
        [],
        1,
        None,
        "exp",
        ["exp"],
        {"exp": "soon"},
        {"exp": None},
        {"nbf": {}},
        {"nbf": float("inf")},
        {"exp": float("nan")},
    ],
)
def test_jwt_claims_that_are_none(provider: str, claims: object) -> None:
    callback = with_signature(signed(provider), token(claims, {"alg": "HS256"}))
    assert refusal(callback, NEW) == "claims_malformed"


@pytest.mark.parametrize("provider", JWT)
@pytest.mark.parametrize(
    "header", [[], 1, {"alg": "HS256", "crit": ["x"]}, {"alg": "HS256", "kid": 1}, {"alg": "HS256", "b64": False}]
)
def test_jwt_headers_that_are_none(provider: str, header: object) -> None:
    assert refusal(with_signature(signed(provider), token({}, header)), NEW) == "signature_malformed"


# ---- anything at all

HEADERS = [*{proof["header"] for proof in PROOF.values()}, "accesskey", "action", "biztype", "ts", "content-type"]
ANY_TEXT = (
    st.text() | st.text(st.characters(codec="latin-1")) | st.from_regex(r"[0-9a-fA-F]{0,80}") | st.sampled_from(JUNK)
)


@pytest.mark.parametrize("provider", PROVIDERS)
@given(
    headers=st.dictionaries(st.sampled_from(HEADERS), ANY_TEXT),
    method=st.sampled_from(["GET", "POST", "PATCH"]),
    body=st.binary(),
    query=st.text(),
    secrets=st.lists(st.text(min_size=1), max_size=3),
    token=st.none() | st.just("t"),
)
def test_verify_raises_nothing_but_rejected(
    provider: str, headers: dict[str, str], method: str, body: bytes, query: str, secrets: list[str], token: str | None
) -> None:
    callback = callback_of(provider, Request(method=method, headers=headers, body=body, query=query))
    try:
        proof = verify(callback, *secrets, token=token)
    except Rejected as rejected:
        assert rejected.reason in REASONS
    else:
        assert (proof, token) == ("token", "t")


@pytest.mark.parametrize("provider", JWT)
@given(parts=st.lists(st.binary(max_size=60) | st.sampled_from([b'{"alg":"HS256"}', b"{}"]), min_size=2, max_size=4))
def test_jwt_of_any_parts(provider: str, parts: list[bytes]) -> None:
    callback = callback_of(provider, Request(method="POST"))
    refusal(with_signature(callback, "Bearer " + ".".join(map(_base64, parts))), NEW)


def test_the_battery_would_notice() -> None:
    """The samples above are good ones, so that what is refused is refused for what was changed."""
    for provider in PROOF:
        assert verify(signed(provider), NEW) == "secret-1"
        late = replace(signed(provider), received_at=datetime.now(UTC) + timedelta(seconds=1))
        assert verify(late, NEW) == "secret-1"
    assert hashlib.sha256(NEW.encode()).digest_size > len(NEW), "a secret too short for PyJWT's taste"
