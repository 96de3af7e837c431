"""The way of a callback, from the HTTP port to PostgreSQL, through real processes."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any
from uuid import UUID

import msgspec
import pytest
import redis
import uvloop

from deploy.local import simulator
from shared import providers
from shared.providers import PROVIDERS
from tests.conftest import wait_until
from tests.load.client import Answer, Client, encode
from tests.pipeline.conftest import Running, flower_tasks, http

KINDS: list[tuple[str, simulator.Kind]] = [
    *((f"every-{provider}", kind) for provider in PROVIDERS for kind in simulator.KINDS),
    ("otp", "dr"),  # by its token alone
    ("open", "mo"),
]


def row(system: Running, id: str) -> dict[str, Any]:
    system.wait_drained()
    (found,) = system.query(f"SELECT * FROM callbacks WHERE id = '{UUID(id)}'")
    return found


@pytest.mark.parametrize(("source", "kind"), KINDS)
def test_every_kind_of_every_provider_arrives(system: Running, source: str, kind: simulator.Kind) -> None:
    (id,) = system.send(system.request(source, kind))
    assert row(system, id)["outcome"] == "stored"
    table = "inbound_messages" if kind == "mo" else "delivery_reports"
    (event,) = system.query(f"SELECT * FROM {table} WHERE callback_id = '{id}'")
    assert event["source"] == source
    if kind == "dr":
        (delivery,) = system.query(
            f"SELECT * FROM deliveries WHERE source = '{source}' AND message_id = '{event['message_id']}'"
        )
        assert (delivery["status"], delivery["reports"]) == (event["status"], 1)


@pytest.mark.parametrize(("source", "kind"), KINDS)
def test_a_callback_sent_twice_is_one_event_and_a_duplicate(system: Running, source: str, kind: simulator.Kind) -> None:
    request = system.request(source, kind)
    first, second = system.send(request, request)
    assert first != second
    assert {row(system, first)["outcome"], row(system, second)["outcome"]} == {"stored", "duplicate"}


def test_an_answer_with_a_body_is_as_quick_as_one_without(system: Running) -> None:
    """On an open connection, where the second packet of an answer may be held back until the first is confirmed."""
    sources = ("otp", "support") * 60
    wires = [encode(system.request(source, "dr")) for source in sources]
    answers: list[Answer] = []
    uvloop.run(Client(system.url, connections=1).run(wires, None, answers.append))
    assert {answer.status for answer in answers} == {200}
    otp, support = (
        median(answer.seconds for answer in answers if sources[answer.number] == name) for name in sources[:2]
    )
    assert otp < 4 * support


def test_nxcloud_gets_its_words(system: Running) -> None:
    request = system.request("otp", "dr")
    status, body, headers = http(system.url + request.path, "POST", request.body, **request.headers)
    assert (status, body, headers["content-type"]) == (200, b"success", "text/plain")
    assert UUID(headers["x-callbox-id"]).version == 7
    status, body, headers = http(system.url + request.path + "x", "POST", request.body, **request.headers)
    assert (status, body, headers["x-callbox-id"]) == (404, b"error", None)


def test_a_receipt_in_the_url_is_read_and_its_token_is_not_kept(system: Running) -> None:
    request = system.request("otp", "dr")
    token = system.sources["otp"].token
    url = f"{system.url}/callbacks/otp?{request.body.decode()}&token={token}"
    status, body, headers = http(url)
    assert (status, body) == (200, b"success")
    kept = row(system, headers["x-callbox-id"])
    assert kept["outcome"] == "stored"
    assert kept["query"] == request.body.decode()
    assert str(token) not in str(kept)


@pytest.mark.parametrize("source", ["fleet", "support"])
def test_what_is_not_signed_is_not_accepted(system: Running, source: str) -> None:
    request = system.request(source, "mo")
    headers = {"content-type": "application/json"}
    status, body, _ = http(system.url + request.path, "POST", request.body, **headers)
    assert (status, json.loads(body)) == (401, {"error": "not proven"})
    stolen = msgspec.structs.replace(request, body=request.body + b" ")
    if source == "support":  # emnify's token does not cover the body
        assert [answer.status for answer in system.answers(stolen)] == [401]


def test_an_authentic_but_unreadable_callback_is_acknowledged_and_kept_with_its_reason(system: Running) -> None:
    path = f"/callbacks/otp/{system.sources['otp'].token}"
    body = b'{"\xff\x00 not json'
    status, answer, headers = http(system.url + path, "POST", body, **{"content-type": "application/json"})
    assert (status, answer) == (200, b"success")
    kept = row(system, headers["x-callbox-id"])
    assert (kept["outcome"], bytes(kept["body"])) == ("dead", body)
    (dead_letter,) = system.query(f"SELECT * FROM dead_letters WHERE callback_id = '{kept['id']}'")
    assert (dead_letter["reason"], dead_letter["state"]) == ("not JSON", "open")


def test_an_unknown_source_is_not_found(system: Running) -> None:
    assert http(system.url + "/callbacks/nobody", "POST", b"{}")[0] == 404


def test_many_at_once_all_arrive_once(system: Running) -> None:
    requests = [system.request(*KINDS[number % len(KINDS)]) for number in range(300)]
    requests += requests[:100]
    with ThreadPoolExecutor(8) as pool:
        ids = [id for found in pool.map(system.send, requests) for id in found]
    system.wait_drained()
    assert len(set(ids)) == 400
    listed = ",".join(f"'{id}'" for id in ids)
    outcomes = Counter(
        found["outcome"] for found in system.query(f"SELECT outcome FROM callbacks WHERE id IN ({listed})")
    )
    assert outcomes == {"stored": 300, "duplicate": 100}


def test_metrics_count_what_both_ingresses_did(system: Running) -> None:
    def accepted() -> float:
        lines = http(system.admin_url + "/metrics")[1].decode().splitlines()
        wanted = 'callbox_requests_total{outcome="accepted",source="open"} '
        return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))

    before = accepted()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(system.send, [system.request("open", "mo") for _ in range(100)]))
    assert accepted() - before == 100


def test_the_probes_answer(system: Running) -> None:
    assert http(system.admin_url + "/healthz")[0] == 200
    assert http(system.admin_url + "/readyz")[0] == 200


def test_flower_shows_the_drains_with_their_counts(system: Running) -> None:
    system.send(system.request("open", "mo"))
    system.wait_drained()

    def shown() -> bool:
        tasks = flower_tasks(system)
        return any(task["name"] == "callbox.drain" and "'stored': " in str(task["result"]) for task in tasks)

    wait_until(shown, "a drain with its counts in Flower")


def test_what_was_acknowledged_is_fsynced(system: Running) -> None:
    with redis.Redis.from_url(system.addresses["CALLBOX_REDIS_URL"]) as client:
        assert fsynced_after(system, client)
        try:
            client.config_set("appendfsync", "no")
            assert not fsynced_after(system, client), "this test would see no difference"
        finally:
            client.config_set("appendfsync", "always")


def fsynced_after(system: Running, client: redis.Redis) -> bool:
    """Whether what Redis wrote up to now is on disk. WAITAOF speaks of its own connection's writes: hence the SET."""
    system.send(system.request("open", "mo"))
    client.set("fsynced", 1)
    server: Any = client.info("server")
    if "valkey_version" not in server and server["redis_version"].startswith("7.0."):  # before WAITAOF
        return bool(client.config_get("appendfsync")["appendfsync"] == "always")
    answer: Any = client.waitaof(1, 0, 1)
    return bool(answer[0] == 1)


def test_a_callback_that_blows_up_hurts_only_itself(system: Running) -> None:
    """Small on the wire, and large in rows if each of its items repeated what is around them."""
    fields = {"status": "SENT", "message_id": "x", **{f"k{number}": "y" * 4096 for number in range(14)}}
    body = json.dumps({**fields, "statuses": [{}] * 499}, separators=(",", ":")).encode()
    poison = msgspec.structs.replace(system.request("support", "mo"), body=body)
    signed = system.sources["support"]
    requests = [system.request("open", "mo"), providers.sign(poison, signed), system.request("open", "mo")]
    assert len(body) < PROVIDERS["messente"].BODY_LIMIT_BYTES
    before, bad, after = system.send(*requests)
    assert [row(system, id)["outcome"] for id in (before, bad, after)] == ["stored"] * 3


@pytest.mark.parametrize("upgrade", ["h2c", "TLS/1.3", "websocket"])
def test_an_upgrade_costs_nobody_a_callback_and_shows_in_no_log(system: Running, upgrade: str) -> None:
    request = system.request("otp", "dr")
    headers = {**request.headers, "Connection": "Upgrade", "Upgrade": upgrade, "Sec-WebSocket-Version": "13"}
    status, _, answered = http(f"{system.url}{request.path}?secret=447700900999", "POST", request.body, **headers)
    assert status == 200
    assert row(system, answered["x-callbox-id"])["outcome"] == "stored"
    assert "447700900999" not in system.logs()
