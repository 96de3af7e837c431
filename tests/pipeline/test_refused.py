"""A wrong secret on Friday evening, found and corrected on Monday; and a flood beside honest traffic."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

from msgspec.structs import replace

from deploy.local import simulator
from shared import config
from shared.callback import Request
from shared.events import InboundMessage
from shared.providers import PROVIDERS
from tests.conftest import wait_until
from tests.pipeline.conftest import Running, Start, http
from tests.pipeline.test_metrics import total

SECRET = "an-api-secret-of-emnify-long-enough"
SOURCES = """
[sources.fleet]
provider = "emnify"
secrets = [{secret}]

[sources.support]
provider = "messente"
secrets = ["shared-secret-of-a-number"]

[sources.near]
provider = "messente"
secrets = ["shared-secret-of-a-number"]
allow_ips = ["{near}"]
"""
PHONE, TEXT = "447700900123", "meet me at the harbour"
PRIVATE = (SECRET, "shared-secret-of-a-number", PHONE, "harbour", "eyJ")


def wrong(secret: str = f'"\\"{SECRET}\\""', near: str = "198.51.100.0/24") -> str:
    return SOURCES.format(secret=secret, near=near)


def right() -> str:
    return wrong(json.dumps(SECRET), "203.0.113.0/24")


def requests_of(up: Running, source: str, number: int, address: str, first: int = 0) -> list[Request]:
    """As the provider sends them, with the right secrets, through a proxy that names its address."""
    configured = config.load(up.folder / "right.toml", up.environment, PROVIDERS).sources[source]
    requests = []
    for id in range(first, first + number):
        event = InboundMessage(key=("mo", str(id)), message_id=str(id), sender=f"+{PHONE}", recipient="12", text=TEXT)
        requests.append(simulator.request(configured, event).with_headers({"x-forwarded-for": address}))
    return requests


def kept(up: Running, source: str) -> int:
    found: int = json.loads(up.command("status", "--json").stdout)["quarantine"].get(source, {}).get("requests", 0)
    return found


def test_a_weekend_of_a_wrong_secret_loses_no_callback(start: Start, tmp_path: Path) -> None:
    (tmp_path / "right.toml").write_text(right())
    up = start("--workers", "1", "--no-flower", sources=wrong(), CALLBOX_TRUSTED_PROXIES="127.0.0.1")
    of_fleet, of_near = requests_of(up, "fleet", 30, "203.0.113.1"), requests_of(up, "near", 20, "203.0.113.2", 100)
    assert {(answer.status, answer.callback_id) for answer in up.answers(*of_fleet, *of_near)} == {(401, None)}
    wait_until(lambda: (kept(up, "fleet"), kept(up, "near")) == (30, 20), "the quarantine has them")

    # Monday: what is wrong?
    said = {words: up.command(*words).stdout for words in (("status",), ("refused",), ("refused", "fleet"))}
    assert "fleet refused 30 requests that are kept: `callbox refused explain last --source fleet`" in str(said)
    why = up.command("refused", "explain", "last", "--source", "fleet").stdout
    assert "secret 1 would do without the quotation marks around it: correct it in the configuration" in why
    near = up.command("refused", "explain", "last", "--source", "near").stdout
    assert "address_not_allowed" in near

    # It is corrected.
    (up.folder / "callbox.toml").write_text(right())
    listed = {row["id"] for row in json.loads(up.command("refused", "--json").stdout)}
    for source, number in (("fleet", 30), ("near", 20)):
        dry = up.command("refused", "replay", "--source", source, "--dry").stdout
        assert dry == f"dry run, nothing was changed: {number} would go to the inbox\n"
        assert up.command("refused", "replay", "--source", source).stdout == f"{number} are in the inbox\n"
    up.wait_drained()
    assert {str(row["id"]) for row in up.query("SELECT id FROM callbacks WHERE outcome = 'stored'")} == listed
    assert len(up.query("SELECT FROM inbound_messages")) == 50
    addresses = {str(row["remote_ip"]) for row in up.query("SELECT remote_ip FROM callbacks")}
    assert addresses == {"203.0.113.1", "203.0.113.2"}
    status = json.loads(up.command("status", "--json").stdout)
    assert (status["accepted"], status["stored"], status["difference"], status["quarantine"]) == (50, 50, 0, {})

    everything = [why, near, *said.values(), up.logs(), up.output, http(up.admin_url + "/metrics")[1].decode()]
    for private in PRIVATE:
        assert not [text for text in everything if private in text], private


def test_a_flood_costs_the_honest_nothing_and_pushes_out_nothing_but_itself(start: Start, tmp_path: Path) -> None:
    (tmp_path / "right.toml").write_text(right())
    bounds = {"CALLBOX_QUARANTINE_REQUESTS": "300", "CALLBOX_TRUSTED_PROXIES": "127.0.0.1"}
    up = start("--workers", "1", "--no-flower", sources=wrong(), **bounds)
    mistaken = requests_of(up, "fleet", 60, "203.0.113.1")
    assert {answer.status for answer in up.answers(*mistaken)} == {401}
    good = requests_of(up, "support", 200, "203.0.113.3", 1000)
    (junk,) = requests_of(up, "fleet", 1, "198.51.100.9", 5000)
    junk = replace(junk, body=b"x" * 1000, headers={**junk.headers, "authorization": "Bearer a.b.c"})
    sent, numbers = 0, count()
    with ThreadPoolExecutor(2) as pool:
        honest = pool.submit(up.answers, *good)
        while not honest.done() or next(numbers) < 20:
            assert {answer.status for answer in up.answers(*[junk] * 50)} == {401}
            sent += 50
    assert {answer.status for answer in honest.result()} == {200}
    up.wait_drained()
    status = json.loads(up.command("status", "--json").stdout)
    assert (status["accepted"], status["stored"], status["difference"]) == (200, 200, 0)

    def counted() -> tuple[float, float, float]:
        """Refused, dropped, and what is in the quarantine."""
        dropped = total(up.admin_url, "callbox_quarantine_dropped_total", source="fleet")
        refused = total(up.admin_url, "callbox_refusals_total", source="fleet")
        beat = up.addresses["CALLBOX_BEAT_ADMIN_URL"]
        return refused, dropped, total(beat, "callbox_quarantine_requests", source="fleet")

    wait_until(lambda: counted()[0] == counted()[1] + counted()[2], "each refused request is kept or counted")
    assert counted()[0] == 60 + sent
    assert counted()[2] <= 300
    rows = json.loads(up.command("refused", "fleet", "--json", "--limit", "1000").stdout)
    assert sum(row["address"] == "203.0.113.1" for row in rows) == 60
    (up.folder / "callbox.toml").write_text(right())
    done = json.loads(up.command("refused", "replay", "--source", "fleet", "--json").stdout)
    assert (done["proven"], list(done["refused"])) == (60, ["signature_malformed"])
    up.wait_drained()
    assert len(up.query("SELECT FROM callbacks WHERE source = 'fleet' AND outcome = 'stored'")) == 60
