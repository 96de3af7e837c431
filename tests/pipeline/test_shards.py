"""The whole system with an inbox of several shards, and the end of one of them."""

import json

import psycopg

from shared.inbox import Inbox
from shared.settings import Settings
from tests.conftest import wait_until
from tests.pipeline.conftest import Start


def test_callbacks_of_all_shards_arrive_and_one_shard_is_drained_and_removed(start: Start) -> None:
    up = start("--ingress", "2", "--no-flower", CALLBOX_INBOX_SHARDS="3")
    ids = up.send(*(up.request("open", "mo") for _ in range(20)))

    def stored() -> int:
        with psycopg.connect(up.addresses["CALLBOX_DATABASE_URL"]) as connection:
            row = connection.execute("SELECT count(DISTINCT id) FROM callbacks").fetchone()
        return int(row[0]) if row else 0

    wait_until(lambda: stored() == len(ids), "every callback is stored")
    settings = Settings(redis_url=up.addresses["CALLBOX_REDIS_URL"], inbox_shards=3)
    assert up.addresses["CALLBOX_INBOX_SHARDS"] == "3", "commands find it in the folder"
    rows = json.loads(up.command("shards", "--json").stdout)
    assert [(row["shard"], row["waiting"], row["state"]) for row in rows] == [
        (number, 0, "takes callbacks") for number in range(3)
    ]
    assert "only the last shard can be removed" in up.command("shards", "drain", "1", code=1).stderr
    assert "there is no shard 3" in up.command("shards", "drain", "3", code=1).stderr
    said = up.command("shards", "drain", "2").stdout
    assert said.startswith("shard 2 is empty: set CALLBOX_INBOX_SHARDS to 2")
    assert "retired and empty" in up.command("shards").stdout
    with Inbox.connect(settings, 5.0) as found:
        assert found.snapshot().ledger["open"]["stored"] == len(ids), "what was counted stays in the ledger"
        assert found.snapshot().difference == 0
    assert up.command("shards", "restore", "2").stdout == "shard 2 takes callbacks again\n"
    assert "takes callbacks already" in up.command("shards", "restore", "2", code=1).stderr
