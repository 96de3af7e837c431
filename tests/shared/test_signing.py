"""The checks themselves, against published vectors; what every provider must refuse is in the providers' battery."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import signing
from shared.errors import Rejected
from shared.source import Source

NOW = datetime(2024, 5, 1, tzinfo=UTC)
# RFC 4231, test case 2: key "Jefe".
RFC_4231 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
RFC_4231_MESSAGE = b"what do ya want for nothing?"
# RFC 2202, 3, test case 2.
RFC_2202 = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
# The same two, from: printf %s MESSAGE | openssl dgst -sha256 (or -sha1) -hmac Jefe -binary | base64
BASE64_SHA256 = "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="
BASE64_SHA1 = "7/zfauXrL6LSdBbV8YTfnCWafHk="
# HS256 of {"sub":"1234567890","name":"John Doe","iat":1516239022}, as on jwt.io.
JWT_SECRET = "your-256-bit-secret"
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ."
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
)
# NXCloud's documentation, "Signature".
MD5_MESSAGE = (
    'accessKey=fme2na3kdi3ki&action=send&bizType=1&ts=1655710885431&body={"name":"牛小信","id":10001}&accessSecret='
).encode()
MD5 = "87c3560d3331ae23f1021e2025722354"


def reason(check: Callable[[], object]) -> str:
    with pytest.raises(Rejected) as refusal:
        check()
    assert refusal.value.reason in get_args(signing.Reason)
    return refusal.value.reason


def verify_hex(secrets: list[str], message: bytes, signature: str, algorithm: signing.Hash = "sha256") -> str:
    return signing.verify_hmac(secrets, signing.read_signature(signature, algorithm), [message])


def verify_base64(signature: str | None, algorithm: signing.Hash = "sha256") -> str:
    read = signing.read_signature(signature, algorithm, "base64")
    return signing.verify_hmac(["new", "Jefe"], read, [RFC_4231_MESSAGE])


def verify_md5(secrets: list[str], message: bytes) -> str:
    return signing.verify_md5(secrets, signing.read_signature(MD5, "md5"), message)


def test_hmac_vectors() -> None:
    assert signing.hmac_hex("Jefe", RFC_4231_MESSAGE) == RFC_4231
    assert signing.hmac_hex("Jefe", RFC_4231_MESSAGE, "sha1") == RFC_2202
    assert verify_hex(["Jefe"], RFC_4231_MESSAGE, RFC_4231) == "secret-1"
    assert verify_hex(["Jefe"], RFC_4231_MESSAGE, RFC_2202, "sha1") == "secret-1"


def test_an_hmac_over_any_one_of_several_messages() -> None:
    signature = signing.read_signature(RFC_4231)
    assert signing.verify_hmac(["new", "Jefe"], signature, [b"another", RFC_4231_MESSAGE]) == "secret-2"
    assert reason(lambda: signing.verify_hmac(["Jefe"], signature, [b"another", b"and another"])) == "signature_wrong"
    assert reason(lambda: signing.verify_hmac(["Jefe"], signature, [])) == "signature_wrong"


def test_hmac_vectors_in_base64() -> None:
    assert signing.hmac_base64("Jefe", RFC_4231_MESSAGE) == BASE64_SHA256
    assert signing.hmac_base64("Jefe", RFC_4231_MESSAGE, "sha1") == BASE64_SHA1
    assert verify_base64(BASE64_SHA256) == "secret-2"
    assert verify_base64(BASE64_SHA1, "sha1") == "secret-2"


@pytest.mark.parametrize("blank", [None, "", " ", "\t"])
def test_no_hmac_in_base64(blank: str | None) -> None:
    assert reason(lambda: verify_base64(blank)) == "signature_missing"


@pytest.mark.parametrize(
    "wrong", ["x" + BASE64_SHA256[1:], BASE64_SHA256.swapcase(), BASE64_SHA256[:-3] + "NM=", "A" * 43 + "="]
)
def test_an_hmac_in_base64_of_another_value_is_wrong(wrong: str) -> None:
    assert reason(lambda: verify_base64(wrong)) == "signature_wrong"


@pytest.mark.parametrize(
    ("algorithm", "malformed"),
    [
        ("sha256", RFC_4231),
        ("sha256", BASE64_SHA1),
        ("sha1", BASE64_SHA256),
        ("sha1", RFC_2202),
        ("sha1", BASE64_SHA1.replace("/", "_")),  # the URL-safe alphabet
        ("sha1", BASE64_SHA1.rstrip("=")),
        ("sha1", BASE64_SHA1 + "="),
        ("sha1", BASE64_SHA1 + "\n"),
        ("sha1", " " + BASE64_SHA1),
        ("sha1", BASE64_SHA1[:14] + "\r\n" + BASE64_SHA1[14:]),
        ("sha1", BASE64_SHA1 + BASE64_SHA1),
        ("sha1", f"{BASE64_SHA1}, {BASE64_SHA1}"),
        ("sha1", "é" + BASE64_SHA1[1:]),
        ("sha1", "\udcff" + BASE64_SHA1[1:]),
        ("sha1", "\0" + BASE64_SHA1[1:]),
        ("sha1", "===="),
        ("sha1", "A" * 100_000),
    ],
)
def test_an_hmac_that_is_not_in_base64_or_of_another_length_is_malformed(
    algorithm: signing.Hash, malformed: str
) -> None:
    assert reason(lambda: verify_base64(malformed, algorithm)) == "signature_malformed"


def test_an_hmac_in_base64_is_none_in_hex() -> None:
    assert reason(lambda: signing.read_signature(BASE64_SHA256)) == "signature_malformed"


def test_hmac_of_another_length_is_malformed() -> None:
    assert reason(lambda: signing.read_signature(RFC_2202)) == "signature_malformed"


def test_the_label_counts_from_the_newest() -> None:
    secrets = ["new", "Jefe", "Jefe"]
    assert verify_hex(secrets, RFC_4231_MESSAGE, RFC_4231) == "secret-2"
    assert signing.verify_jwt(["new", JWT_SECRET], JWT, NOW) == "secret-2"
    assert verify_md5(["a", "b", "abciiiko2k3"], MD5_MESSAGE) == "secret-3"


def test_no_secret_at_all_matches_nothing() -> None:
    assert reason(lambda: verify_hex([], RFC_4231_MESSAGE, RFC_4231)) == "signature_wrong"
    assert reason(lambda: signing.verify_jwt([], JWT, NOW)) == "signature_wrong"
    assert reason(lambda: verify_md5([], MD5_MESSAGE)) == "signature_wrong"


def test_md5_vector() -> None:
    assert signing.md5_hex("abciiiko2k3", MD5_MESSAGE) == MD5


def test_jwt_vector() -> None:
    assert signing.verify_jwt([JWT_SECRET], JWT, NOW) == "secret-1"
    assert reason(lambda: signing.verify_jwt([JWT_SECRET], JWT[:-2] + "5d", NOW)) == "signature_malformed"
    assert reason(lambda: signing.verify_jwt([JWT_SECRET], JWT[:-2] + "5g", NOW)) == "signature_wrong"


def test_when_a_jwt_was_issued_is_no_condition() -> None:
    before = datetime(2018, 1, 18, 1, 29, 21, tzinfo=UTC)
    assert signing.verify_jwt([JWT_SECRET], JWT, before) == "secret-1"


@pytest.mark.parametrize(
    "secret",
    ["x", "15 bytes or so.", '{"kty":"oct"}', "-----BEGIN PUBLIC KEY-----", "ssh-rsa AAAA", "ключ", "\udcff\udcfe"],
)
def test_every_secret_works_in_silence(secret: str) -> None:
    assert signing.verify_jwt([secret], signing.make_jwt(secret, {"iss": "x"}), NOW) == "secret-1"
    assert verify_hex([secret], b"m", signing.hmac_hex(secret, b"m")) == "secret-1"


@given(secret=st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), message=st.binary())
def test_what_is_signed_is_proven_and_nothing_else(secret: str, message: bytes) -> None:
    signature = signing.hmac_hex(secret, message)
    assert verify_hex(["other " + secret, secret], message, signature) == "secret-2"
    assert reason(lambda: verify_hex([secret], message + b"\0", signature)) == "signature_wrong"
    assert reason(lambda: verify_hex([secret + "x"], message, signature)) == "signature_wrong"


@pytest.mark.parametrize(
    ("header", "token"),
    [(None, None), ("", None), ("  ", None), ("Bearer x", "x"), ("bearer x", "x"), ("BEARER  x", " x"), ("Bearer", "")],
)
def test_bearer(header: str | None, token: str | None) -> None:
    assert signing.bearer(header) == token


@pytest.mark.parametrize("header", ["Basic x", "x", "Bearerx y", " Bearer x", "é x"])
def test_another_scheme_than_bearer(header: str) -> None:
    assert reason(lambda: signing.bearer(header)) == "signature_malformed"


def test_a_token_of_more_than_the_limit_is_not_decoded() -> None:
    payload = signing.make_jwt("secret", {"iss": "x" * signing.TOKEN_LIMIT_CHARS})
    assert reason(lambda: signing.verify_jwt(["secret"], payload, NOW)) == "signature_malformed"


@pytest.mark.parametrize(
    ("expected", "given", "same"),
    [
        ("abc", "abc", True),
        ("abc", "abcd", False),
        ("abc", "ab", False),
        ("abc", "ABC", False),
        ("abc", "", False),
        ("abc", None, False),
        ("abc", "äbc", False),
        ("abc", "\ud800", False),
    ],
)
def test_same_token(expected: str, given: str | None, same: bool) -> None:
    assert signing.same_token(expected, given) is same


def test_proof_without_signature() -> None:
    assert signing.proof_without_signature(Source("s", "p", token="t", unsigned=True)) == "token"
    assert signing.proof_without_signature(Source("s", "p", unsigned=True)) == "unsigned"
    assert reason(lambda: signing.proof_without_signature(Source("s", "p", secrets=("x",)))) == "unsigned"
