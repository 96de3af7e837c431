"""What a secret is called where people look: `secret-` and six characters of a slow hash of it.

The name is the same on every host and after every restart, and stays with the secret when another one is put before it
in the list. So a metric, a log and `callbox check` speak of one secret, and a rotation can be finished.

A name that is shown everywhere must be of no use to who wants to guess a secret. Six characters (24 bits) are enough to
distinguish the few secrets of a source, and shorten the search for a random secret of 128 bits to one of 104. A weak
secret they might confirm, so a try must cost: a hash takes some 10 ms and 4 MiB, while who guesses at the ingress
gets an answer in less than a millisecond. The name of the source is hashed along, so that no one sees that two sources
have one secret, and no table of hashes serves for two of them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache

from shared.source import Source

DIGITS = 6
COST, BLOCK_BYTES = 2**12, 8 * 128  # of scrypt (RFC 7914): N, and what r=8 makes of a block

_SALT = "callbox secret of "


@lru_cache(maxsize=4096)
def fingerprint(source_name: str, secret: str) -> str:
    """Six hexadecimal digits. The first time in a process it takes some 10 ms; the interpreter goes on with others."""
    salt, password = (text.encode("utf-8", "surrogateescape") for text in (_SALT + source_name, secret))
    digest = hashlib.scrypt(password, salt=salt, n=COST, r=8, p=1, maxmem=2 * COST * BLOCK_BYTES, dklen=8)
    return digest.hex()[:DIGITS]


def labels(source: Source) -> Mapping[str, str]:
    """What each proof of a source is called outside, by what `verify` calls it: `secret-1` is the newest secret."""
    named = {f"secret-{number}": label for number, label in enumerate(secret_labels(source), 1)}
    return {**named, "token": "token", "unsigned": "unsigned"}


def secret_labels(source: Source) -> list[str]:
    """What the secrets of a source are called, the newest first."""
    return [f"secret-{fingerprint(source.name, secret)}" for secret in source.secrets]


def of_sources(sources: Iterable[Source]) -> str:
    """Six hexadecimal digits that distinguish this configuration of the sources from any other. A secret counts by its
    fingerprint, so that these digits reveal no more of it."""
    digest = hashlib.blake2b(digest_size=8)
    for source in sorted(sources, key=lambda source: source.name):
        token = source.token and fingerprint(source.name, source.token)
        rest = (source.allow_ips, source.unsigned, source.timezone.key, source.a2p_max_digits, {**source.options})
        digest.update(repr((source.name, source.provider, secret_labels(source), token, *rest)).encode())
    return digest.hexdigest()[:DIGITS]
