"""What an audit repairs and forgets."""

from typing import Any

import pytest

from shared import inbox
from shared.inbox.keys import GROUP
from tests.keys import AUDITED, INBOX, MARKS
from tests.shared.inbox.conftest import LINGER_SECONDS, consumer, consumers


@pytest.mark.parametrize("fault", ["consumer deleted", "group set by hand"])
def test_entries_neither_pending_nor_unread_are_repaired(client: inbox.Shard, append: Any, fault: str) -> None:
    append(*[("a", b"%d" % number) for number in range(600)], ("a", b"unread"))
    worker = consumer(client)
    worker.claim(600, LINGER_SECONDS)
    if fault == "consumer deleted":
        client.xgroup_delconsumer(INBOX, GROUP, worker.name)
    else:
        client.xgroup_setid(INBOX, GROUP, "$")
    expected = 600 if fault == "consumer deleted" else 1
    assert inbox.audit_group(client, 60) == expected
    assert inbox.audit_group(client, 60) is None, "some worker did it just now"
    assert len(worker.abandoned(1000, 60)) == expected
    assert inbox.take_snapshot(client).notes.repaired == expected
    client.delete(AUDITED)
    assert inbox.audit_group(client, 60) == 0


def test_an_audit_forgets_the_names_of_workers_that_are_gone(
    client: inbox.Shard, append: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(("a", b"1"))
    consumer(client, "idle").claim(1, LINGER_SECONDS)
    consumer(client, "gone").claim(1, LINGER_SECONDS)
    monkeypatch.setattr("shared.inbox.audit.FORGET_SECONDS", -1)
    inbox.audit_group(client, 60)
    assert [consumer["name"] for consumer in consumers(client)] == [b"idle"], "it has something pending"


def test_marks_of_workers_that_are_gone_are_forgotten(client: inbox.Shard, append: Any) -> None:
    append(("fleet", b"1"))
    seconds: Any = client.time()[0]
    client.hset(MARKS, mapping={"gone": (seconds - 601) * 1000, "quiet": (seconds - 500) * 1000})
    inbox.audit_group(client, 1)
    assert client.hkeys(MARKS) == [b"quiet"]
