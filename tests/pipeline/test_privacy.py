"""No phone number, no text and no secret in the logs, in Flower or in the metrics, whatever happens."""

import msgspec
import psycopg

from deploy.local import simulator
from shared.callback import Request
from shared.events import InboundMessage
from shared.providers import PROVIDERS
from tests.conftest import wait_until
from tests.pipeline.conftest import Running, Start, flower_tasks, http

PHONE = "447700900123"
TEXT = "meet me at the harbour"


PRIVATE = ("open", *(f"every-{provider}" for provider in PROVIDERS))


def private_requests(up: Running) -> list[Request]:
    message = InboundMessage(key=("mo", "77001"), message_id="77001", sender=f"+{PHONE}", recipient="1234", text=TEXT)
    requests = [simulator.request(up.sources[name], message) for name in PRIVATE]
    token = up.sources["otp"].token
    receipt = f"messageid=m77001&phone={PHONE}&status=2&result=DELIVRD"
    broken = receipt.replace("messageid", "nothing")
    otp = up.request("otp", "dr")
    return [
        *requests,
        msgspec.structs.replace(otp, body=receipt.encode()),
        msgspec.structs.replace(otp, body=broken.encode()),
        Request(method="GET", path="/callbacks/otp", query=f"{receipt}9&token={token}"),
    ]


METRICS = ("CALLBOX_ADMIN_URL", "CALLBOX_WORKER_ADMIN_URL", "CALLBOX_BEAT_ADMIN_URL")


def assert_nothing_private(up: Running) -> None:
    secrets = [secret for source in up.sources.values() for secret in (*source.secrets, source.token) if secret]
    places = {
        "the logs": up.logs(),
        "the terminal": up.output,
        "Flower": str(flower_tasks(up)),
        **{f"the metrics of {name}": http(up.addresses[name] + "/metrics")[1].decode() for name in METRICS},
    }
    for place, text in places.items():
        assert text, f"nothing to look at in {place}"
        for private in (PHONE, TEXT, "harbour", *secrets):
            assert private not in text, f"{private!r} is in {place}"


def test_nothing_private_shows_also_when_drains_fail(start: Start) -> None:
    up = start("--ingress", "1")
    requests = private_requests(up)
    up.send(*requests)
    up.wait_drained()
    assert len(up.query("SELECT FROM callbacks WHERE outcome = 'dead'")) == 1

    # Refused: a wrong signature, a wrong path, a method of no provider.
    wrong = [
        msgspec.structs.replace(request, headers={}, path=request.path + "/x", method="PUT") for request in requests
    ]
    assert {answer.status for answer in up.answers(*wrong)} <= {401, 404, 405}

    # PostgreSQL refuses rows (an error that quotes them), then everything.
    with psycopg.connect(up.addresses["CALLBOX_DATABASE_URL"], autocommit=True) as connection:
        connection.execute("ALTER TABLE inbound_messages ADD CONSTRAINT no_harbours CHECK (text NOT LIKE '%again%')")
        again = InboundMessage(key=("mo", "1"), message_id="1", sender=f"+{PHONE}", text=TEXT + " again")
        up.send(simulator.request(up.sources["open"], again))
        up.wait_drained()
        assert len(up.query("SELECT FROM dead_letters WHERE stage = 'store'")) == 1
        connection.execute("ALTER TABLE callbacks RENAME TO elsewhere")
        up.send(*requests)
        wait_until(lambda: "not migrated" in up.logs(), "a drain that waits, and says why")
        assert not up.drained()
        assert_nothing_private(up)
        connection.execute("ALTER TABLE elsewhere RENAME TO callbacks")
    wait_until(up.drained, "an empty inbox, once the table is back", 60)
    assert_nothing_private(up)
