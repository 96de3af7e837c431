"""What proves a callback: an HMAC, a JWT, a digest or a token. The only file that imports hmac and jwt.

A signature is read first, then what it covers is put together, then both are compared: a missing or malformed one is
refused before anything else of the request is looked at. Each `verify_…` tries every secret of a source, newest first,
and returns the label of the one that matched (`secret-1` is the first configured), so that a rotation can be ended with
confidence. Whatever is wrong is a Rejected with one of the words in `Reason`.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import jwt
import msgspec
from jwt.algorithms import HMACAlgorithm

from shared.errors import Rejected
from shared.source import Source

Reason = Literal[
    "unsigned",  # the source has neither token nor `unsigned`, and the request carries no signature, as some kinds do
    "signature_missing",
    "signature_malformed",
    "signature_wrong",
    "algorithm_refused",  # a JWT of another algorithm than HMAC-SHA2, or of none
    "claims_malformed",  # a JWT whose claims are no object, or whose times are no numbers
    "token_expired",
    "token_not_yet_valid",
    "timestamp_outside_window",
    "body_changed",  # the signature covers the digest of another body
    "unreadable",  # what decides about the proof can be read in more than one way, or in none
]
Hash = Literal["md5", "sha1", "sha256", "sha512"]

TOKEN, UNSIGNED = "token", "unsigned"  # what proves a callback that no secret signs

LEEWAY_SECONDS = 60
TOKEN_LIMIT_CHARS = 2048
_ALGORITHMS = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}
DIGEST_BYTES: dict[Hash, int] = {"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}
_LONGEST_CHARS = 2 * max(DIGEST_BYTES.values())


class Signature(msgspec.Struct, frozen=True):
    """A digest that came with a callback, and the hash that made it."""

    algorithm: Hash
    digest: bytes


def rejected(reason: Reason) -> Rejected:
    """The refusal for one of the fixed reasons."""
    return Rejected(reason)


def proof_without_signature(source: Source) -> str:
    """`token` or `unsigned`: what the source accepts in the place of a signature. Raises Rejected without either.

    The ingress has compared the token itself before any provider is asked.
    """
    if source.token:
        return TOKEN
    if source.unsigned:
        return UNSIGNED
    raise rejected("unsigned")


def same_token(expected: str, given: str | None) -> bool:
    """Whether the two tokens are equal, in a time that does not show where they differ."""
    return given is not None and hmac.compare_digest(_bytes(expected), given.encode("utf-8", "surrogatepass"))


def hmac_hex(secret: str, message: bytes, algorithm: Hash = "sha256") -> str:
    """The HMAC (RFC 2104) of the message in lower-case hex."""
    return hmac.digest(_bytes(secret), message, algorithm).hex()


def hmac_base64(secret: str, message: bytes, algorithm: Hash = "sha256") -> str:
    """The HMAC (RFC 2104) of the message in Base64 (RFC 4648, 4)."""
    return base64.b64encode(hmac.digest(_bytes(secret), message, algorithm)).decode()


def read_signature(
    text: str | None, algorithm: Hash = "sha256", written: Literal["hex", "base64"] = "hex"
) -> Signature:
    """The signature in a header, in hex of either case or in Base64. Raises Rejected."""
    if not text or not text[:_LONGEST_CHARS].strip():
        raise rejected("signature_missing")
    digest = (_from_hex if written == "hex" else _from_base64)(text, DIGEST_BYTES[algorithm])
    if digest is None:
        raise rejected("signature_malformed")
    return Signature(algorithm, digest)


def verify_hmac(secrets: Sequence[str], signature: Signature, messages: Iterable[bytes]) -> str:
    """Checks an HMAC over any one of the messages. Returns the secret's label; raises Rejected."""
    keys = [_bytes(secret) for secret in secrets]
    for message in messages:
        for number, key in enumerate(keys, 1):
            if hmac.compare_digest(hmac.digest(key, message, signature.algorithm), signature.digest):
                return _label(number)
    raise rejected("signature_wrong")


def md5_hex(secret: str, message: bytes) -> str:
    """The MD5 of the message with the secret behind it, in lower-case hex."""
    return hashlib.md5(message + _bytes(secret), usedforsecurity=False).hexdigest()


def verify_md5(secrets: Sequence[str], signature: Signature, message: bytes) -> str:
    """Checks an MD5 over the message with the secret behind it. Returns the secret's label; raises Rejected.

    Weak, and all that NXCloud offers. With the secret at the end, a known digest cannot be extended.
    """
    hashed = hashlib.md5(message, usedforsecurity=False)
    for number, secret in enumerate(secrets, 1):
        digest = hashed.copy()  # so that a long message is hashed once, for all secrets
        digest.update(_bytes(secret))
        if hmac.compare_digest(digest.digest(), signature.digest):
            return _label(number)
    raise rejected("signature_wrong")


def bearer(authorization: str | None) -> str | None:
    """The token of an `Authorization: Bearer` header (RFC 6750, 2.1), None without one. Raises Rejected."""
    if not authorization or not authorization.strip():
        return None
    scheme, _, token = authorization.partition(" ")
    if len(scheme) != len("bearer") or scheme.lower() != "bearer":
        raise rejected("signature_malformed")
    return token


def verify_jwt(secrets: Sequence[str], token: str | None, now: datetime) -> str:
    """Checks a JWT (RFC 7519) of HS256, HS384 or HS512. Returns the secret's label; raises Rejected.

    No claim is required; `exp` and `nbf` are checked against `now` where they are present, with a leeway of
    LEEWAY_SECONDS. `iat` is no condition (RFC 7519, 4.1.6): the sender's clock may be ahead of ours. PyJWT decodes the
    whole token before it looks at the signature, which bounds what a token may have.
    """
    if not token:
        raise rejected("signature_missing")
    if len(token) > TOKEN_LIMIT_CHARS or not token.isascii():
        raise rejected("signature_malformed")
    for number, secret in enumerate(secrets, 1):
        try:
            payload = _jws.decode(token, _bytes(secret), algorithms=list(_ALGORITHMS))
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError:
            raise rejected("algorithm_refused") from None
        except jwt.PyJWTError:
            raise rejected("signature_malformed") from None
        _check_claims(payload, now.timestamp())
        return _label(number)
    raise rejected("signature_wrong")


def make_jwt(secret: str, claims: dict[str, Any]) -> str:
    """The claims as a JWT signed with HS256."""
    return _jws.encode(json.dumps(claims, separators=(",", ":")).encode(), _bytes(secret), "HS256")


class _AnyLength(HMACAlgorithm):
    """PyJWT's HMAC for secrets as the providers hand them out.

    PyJWT warns at every use of a key shorter than the hash (`callbox check` does so once), and searches every key
    for a public one in disguise, which matters only where asymmetric algorithms are allowed too.
    """

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else _bytes(key)

    def check_key_length(self, key: bytes) -> None:
        return None


def _make_jws() -> jwt.PyJWS:
    jws = jwt.PyJWS(algorithms=[])
    for name, hash_function in _ALGORITHMS.items():
        jws.register_algorithm(name, _AnyLength(hash_function))
    return jws


_jws = _make_jws()


def _check_claims(payload: bytes, now: float) -> None:
    try:
        claims = json.loads(payload)
        times = {name: int(claims[name]) for name in ("exp", "nbf") if name in claims}
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise rejected("claims_malformed") from None
    if not isinstance(claims, dict):
        raise rejected("claims_malformed")
    if times.get("exp", now) <= now - LEEWAY_SECONDS:
        raise rejected("token_expired")
    if times.get("nbf", now) > now + LEEWAY_SECONDS:
        raise rejected("token_not_yet_valid")


def _from_hex(text: str, size: int) -> bytes | None:
    if len(text) != 2 * size:
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        return None
    return digest if len(digest) == size else None  # fromhex skips blanks


def _from_base64(text: str, size: int) -> bytes | None:
    if len(text) > 2 * size:
        return None
    try:
        digest = base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError:
        return None
    return digest if len(digest) == size else None


def _bytes(secret: str) -> bytes:
    """The secret's UTF-8 bytes; what the environment held beside UTF-8 comes back as it was."""
    return secret.encode("utf-8", "surrogateescape")


def _label(number: int) -> str:
    return f"secret-{number}"
