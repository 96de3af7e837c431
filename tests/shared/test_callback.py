"""The packed form, what may be stored of a callback, and its id."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122, UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.callback import (
    COMMON_HEADERS,
    FORMAT,
    TOKENS_LIMIT,
    Arrival,
    Callback,
    new_id,
    pack,
    time_of,
    token_in,
    traceparent_in,
    unpack,
)
from shared.errors import Malformed
from shared.providers import PROVIDERS

NOW = datetime(2024, 5, 1, 12, 30, 0, 123_456, tzinfo=UTC)
CREDENTIALS = {
    "authorization": "Bearer aaa.bbb.ccc",
    "proxy-authorization": "Basic eHh4",
    "cookie": "session=xxx",
    "x-messente-signature": "0123",
    "accesskey": "xxx",
    "sign": "0123",
    "ts": "1",
}

texts = st.text(max_size=50)
callbacks = st.builds(
    Callback,
    id=st.uuids(),
    source=texts,
    provider=texts,
    received_at=st.datetimes(timezones=st.just(UTC)),
    method=texts,
    query=texts,
    headers=st.dictionaries(texts, texts, max_size=5),
    body=st.binary(max_size=500),
    remote_ip=st.none() | texts,
    traceparent=texts,
)


def a_callback(**changes: object) -> Callback:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "source": "fleet",
        "provider": "emnify",
        "received_at": NOW,
        "method": "POST",
        "body": b"{}",
    }
    return Callback(**(values | changes))


# Packed


@given(callbacks)
def test_what_was_packed_comes_back(callback: Callback) -> None:
    assert unpack(pack(callback)) == callback


def test_the_packed_form_is_the_one_that_older_workers_read() -> None:
    callback = a_callback(
        id=UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"), query="a=1", headers={"content-type": "x"}, remote_ip="::1"
    )
    assert msgspec.msgpack.decode(pack(callback)) == [
        1,
        bytes.fromhex("017f22e279b07cc398c4dc0c0c07398f"),
        "fleet",
        "emnify",
        1_714_566_600_123_456,
        "POST",
        "a=1",
        {"content-type": "x"},
        b"{}",
        "::1",
    ]


@given(st.binary(max_size=200))
def test_garbage_is_malformed_and_nothing_worse(garbage: bytes) -> None:
    with pytest.raises(Malformed, match="unreadable inbox entry"):
        unpack(garbage)


@given(callbacks, st.data())
def test_a_damaged_callback_is_another_one_or_malformed_and_nothing_worse(
    callback: Callback, data: st.DataObject
) -> None:
    packed = bytearray(pack(callback))
    place = data.draw(st.integers(0, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    for damaged in (bytes(packed), bytes(packed[:cut])):
        try:
            assert isinstance(unpack(damaged), Callback)
        except Malformed as error:
            assert error.reason == "unreadable inbox entry"


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\x90",  # an empty array
        b"\x80",  # a map
        b"\x91\xa1\xff",  # a text that is not UTF-8
        b"\x91\x81\x81\x01\x02\xc0",  # a map as the key of a map
        b"\x91" * 100_000,  # arrays in arrays
        msgspec.msgpack.encode((FORMAT, b"short", "s", "p", 0, "POST", "", {}, b"", None)),
        msgspec.msgpack.encode((FORMAT, bytes(16), "s", "p", 2**63, "POST", "", {}, b"", None)),
        msgspec.msgpack.encode((FORMAT, bytes(16), "s", "p", "now", "POST", "", {}, b"", None)),
        msgspec.msgpack.encode((FORMAT, bytes(16), "s", "p", 0, "POST", "", {"a": 1}, b"", None)),
        msgspec.msgpack.encode((FORMAT, bytes(16), "s", "p", 0, "POST", "", {}, b"")),
    ],
    ids=lambda packed: packed[:12].hex(),
)
def test_no_damage_escapes_as_another_error(packed: bytes) -> None:
    with pytest.raises(Malformed, match="unreadable inbox entry"):
        unpack(packed)


@pytest.mark.parametrize("rest", [(), (1, 2, 3), tuple(msgspec.msgpack.decode(pack(a_callback()))[1:])], ids=len)
def test_a_later_format_says_so(rest: tuple[object, ...]) -> None:
    later = msgspec.msgpack.encode((FORMAT + 1, *rest))
    with pytest.raises(Malformed, match=f"format {FORMAT + 1}; this release reads format {FORMAT}"):
        unpack(later)


def test_a_callback_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        a_callback().body = b"other"  # type: ignore[misc]


# Arrived, and kept


def arriving(target: str = "/callbacks/fleet", **changes: Any) -> Arrival:
    values: dict[str, Any] = {
        "id": new_id(NOW),
        "source": "fleet",
        "provider": "emnify",
        "received_at": NOW,
        "method": "POST",
        "headers": {},
        "body": b"{}",
        "remote_ip": None,
    }
    return Arrival.of(target=target, **(values | changes))


@pytest.mark.parametrize("provider", PROVIDERS)
def test_no_credential_is_kept(provider: str) -> None:
    asked = {name: f"value of {name}" for name in PROVIDERS[provider].HEADERS}
    common = {"content-type": "application/json", "user-agent": "test"}
    callback = arriving("/callbacks/fleet/secret?token=secret", headers=CREDENTIALS | asked | common)
    assert callback.headers == CREDENTIALS | asked | common
    kept = callback.kept(PROVIDERS[provider].HEADERS)
    assert kept.headers == asked | common
    assert kept.query == ""


@given(st.dictionaries(texts, texts, max_size=5), st.sets(texts))
def test_of_the_headers_only_the_common_and_the_given_ones_are_kept(headers: dict[str, str], names: set[str]) -> None:
    kept = arriving(headers=headers).kept(names)
    assert kept.headers.keys() == headers.keys() & (COMMON_HEADERS | names)


@given(texts, texts, st.dictionaries(texts, texts, max_size=5), st.sets(texts))
def test_what_is_parsed_is_what_was_verified(path: str, query: str, headers: dict[str, str], names: set[str]) -> None:
    """Keeping takes the target and whole headers away; it changes nothing that is left."""
    callback = arriving(f"{path}?{query}", headers=headers)
    kept = callback.kept(names)
    changed = {"target", "headers"}
    assert all(getattr(kept, name) == getattr(callback, name) for name in {*callback.__struct_fields__} - changed)
    assert kept.headers.items() <= callback.headers.items()
    assert unpack(pack(kept)) == kept


@pytest.mark.parametrize(
    ("target", "query"),
    [("/a", ""), ("/a?", ""), ("/a?b", "b"), ("/a?b?c", "b?c"), ("/%3F?%3F", "%3F"), ("?a=1", "a=1")],
)
def test_the_query_begins_behind_the_first_question_mark(target: str, query: str) -> None:
    callback = arriving(target)
    assert (callback.query, callback.target) == (query, target)


@given(st.lists(st.sampled_from(["a=1", "token=secret", "token", "token=", "tokens=2", "b", "a=token", "", "token\n"])))
def test_every_token_is_taken_out_of_the_query_and_nothing_else(parts: list[str]) -> None:
    query = arriving(f"/?{'&'.join(parts)}").query
    assert query == "&".join(part for part in parts if part.split("=")[0] != "token")


@pytest.mark.parametrize("spelled", ["token=secret", "tok\0en=secret", "\0token=sec\0ret", "token\0"])
def test_a_nul_hides_no_token(spelled: str) -> None:
    assert arriving(f"/?a=1&{spelled}&b=2").query == "a=1&b=2"


def test_of_a_flood_of_tokens_no_query_is_kept() -> None:
    """Taking out each would take longer than the rest of the request."""
    assert arriving("/?a=1" + "&token=secret" * (TOKENS_LIMIT - 1)).query == "a=1"
    assert arriving("/?a=1" + "&token=secret" * TOKENS_LIMIT).query == ""
    assert arriving("/?a=1" + "&token=secret" * 10 * TOKENS_LIMIT).query == ""


def test_no_nul_is_kept_since_a_text_in_postgresql_cannot_hold_one() -> None:
    callback = arriving("/\0?a=\0b", headers={"content-type": "a\0b", "x": "\0"}, body=b"\0")
    assert (callback.query, callback.headers, callback.body) == ("a=b", {"content-type": "ab", "x": ""}, b"\0")


@pytest.mark.parametrize(
    ("query", "token"),
    [
        ("", None),
        ("a=1", None),
        ("tokens=1", None),
        ("a=token", None),
        ("token=", ""),
        ("token", ""),
        ("token=abc", "abc"),
        ("a=1&token=abc&b=2", "abc"),
        ("token=first&token=second", "first"),
        ("token=a=b", "a=b"),
        ("token=a%2Db+c", "a-b c"),
        ("%74oken=abc", None),
        ("token" + "x" * 9, None),
        ("token=" + "%41" * 341, "A" * 341),
        ("token=" + "%41" * 342, "%41" * 342),
    ],
)
def test_the_token_of_a_query(query: str, token: str | None) -> None:
    assert token_in(query) == token


# Ids


def test_the_id_of_the_standard_is_made_and_read() -> None:
    """RFC 9562, A.6: Tuesday, February 22, 2022 2:22:22.00 PM GMT-05:00, rand_a CC3, rand_b 18C4DC0C0C07398F."""
    moment = datetime(2022, 2, 22, 19, 22, 22, tzinfo=UTC)
    random = (0xCC3 << 66 | 0x18C4DC0C0C07398F).to_bytes(10, "big")
    assert new_id(moment, random) == UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")
    assert time_of(UUID("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")) == moment


moments = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - as Hypothesis asks


@given(moments, st.binary(min_size=10, max_size=10))
def test_an_id_is_a_version_7_that_has_its_millisecond(moment: datetime, random: bytes) -> None:
    made = new_id(moment, random)
    assert (made.version, made.variant) == (7, RFC_4122)
    assert timedelta(0) <= moment - time_of(made) < timedelta(milliseconds=1)


@given(moments, moments, st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_ids_sort_by_time(one: datetime, other: datetime, random: bytes, other_random: bytes) -> None:
    first, second = new_id(one, random), new_id(other, other_random)
    if time_of(first) != time_of(second):
        assert (first < second) is (one < other)
        assert (str(first) < str(second)) is (one < other)


def test_every_random_bit_counts() -> None:
    ids = {new_id(NOW, (1 << bit).to_bytes(10, "big")) for bit in range(80)}
    assert len(ids) == 74 + 1  # six of the eighty bits are not used


def test_two_ids_of_one_moment_differ() -> None:
    assert new_id(NOW) != new_id(NOW)


class PackedBefore(msgspec.Struct, frozen=True, array_like=True):
    """As a release without traces reads it."""

    format: int
    id: bytes
    source: str
    provider: str
    received_us: int
    method: str
    query: str
    headers: dict[str, str]
    body: bytes
    remote_ip: str | None


def test_a_release_without_traces_reads_a_callback_that_has_one_and_the_other_way_round() -> None:
    plain, traced = a_callback(), a_callback(traceparent=f"00-{'1' * 32}-{'2' * 16}-01")
    before = [msgspec.msgpack.decode(pack(each), type=PackedBefore) for each in (plain, traced)]
    assert before[0].body == before[1].body == plain.body
    assert msgspec.msgpack.encode(before[0]) == pack(plain), "without one nothing is added"
    assert unpack(msgspec.msgpack.encode(before[1])).traceparent == ""
    assert traceparent_in(pack(traced)) == unpack(pack(traced)).traceparent == traced.traceparent
    assert [traceparent_in(packed) for packed in (pack(plain), b"", b"damaged")] == ["", "", ""]
