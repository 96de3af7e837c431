"""`callbox refused`: what it lists, explains and replays, over a real Redis."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest

from deploy.commands.main import main
from deploy.commands.refused import REMEDIES
from ingress.replay import Replay
from ingress.reproof import Reproof
from shared import config, inbox
from shared.callback import new_id, unpack
from shared.inbox import Quarantine, QuarantineWriter, RedisUnavailable, Shard, connect_async
from shared.inbox.quarantine import Bounds
from shared.providers import PROVIDERS
from shared.refused import Refused
from shared.signing import Reason
from shared.source import Source
from tests.deploy.commands.test_spool import Say
from tests.ingress.conftest import NOW
from tests.ingress.test_reproof import refused_by
from tests.keys import INBOX

SECRET, WRONG = "the-password-of-an-api-key", "the-one-of-last-year"
TOML = """
[sources.fleet]
provider = "messente"
secrets = [{secrets}]

[sources.otp]
provider = "messente"
secrets = ["another"]
token = "t0ken-t0ken-t0ken"
"""


def configure(folder: Path, *secrets: str) -> None:
    (folder / "callbox.toml").write_text(TOML.format(secrets=json.dumps(secrets)[1:-1]))


@pytest.fixture
def say(folder: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.setenv("CALLBOX_REDIS_URL", redis_url)
    configure(folder, WRONG)
    return Say(capsys)


def keep(url: str, *requests: Refused) -> None:
    async def run() -> None:
        writer = QuarantineWriter(connect_async(url, 5.0), Bounds(1000, 1 << 26, 3600), 5.0)
        for refused in requests:
            await writer.keep([(refused.callback.remote_ip or "", refused)])
        await writer.close()

    asyncio.run(run())


def a_refused(source: str = "fleet", **changes: Any) -> Refused:
    token = "t0ken-t0ken-t0ken" if source == "otp" else None
    return refused_by(Source(source, "messente", secrets=(WRONG,), token=token), SECRET, id=new_id(NOW), **changes)


def appended(url: str) -> list[UUID]:
    with inbox.connect(url, 5.0) as shard:
        return [unpack(fields[b"c"]).id for _, fields in shard.xrange(INBOX)]


def test_nothing_is_listed_explained_or_replayed_while_nothing_is_refused(say: Say) -> None:
    assert say("refused").out == "nothing is kept that a source refused\n"
    assert say("refused", "fleet").out == "nothing is kept that fleet refused\n"
    assert json.loads(say("refused", "list", "--json").out) == []
    failed = say("refused", "explain", "last")
    assert (failed.code, failed.err) == (
        1,
        "callbox: nothing that was refused is kept: see `callbox refused list`\n",
    )
    assert say("refused", "replay", "--source", "fleet").out == "nothing is kept that fleet refused\n"


def test_a_list_has_when_why_where_from_and_where_to_and_nothing_private(say: Say, redis_url: str) -> None:
    requests = [a_refused(), a_refused("otp"), a_refused(reason="signature_missing")]
    keep(redis_url, *requests)
    shown = say("refused").out
    assert len(shown.splitlines()) == 5
    line = next(line for line in shown.splitlines() if "otp" in line).split()
    assert line == [
        *("2024-05-01", "12:30:00+00:00", str(requests[1].callback.id), "otp", "signature_wrong", "192.0.2.7", "POST"),
        *("/callbacks/otp/…", str(len(requests[1].callback.body))),
    ]
    for words in (["fleet"], ["list", "fleet"], ["--json"], ["list", "--reason", "signature_missing"], []):
        said = say("refused", *words)
        assert said.code == 0
        for private in ("t0ken", SECRET, WRONG, "3725555555", "Grüße", "a=1", "x-messente"):
            assert private not in said.out
    assert {row["id"] for row in json.loads(say("refused", "fleet", "--json").out)} == {
        str(request.callback.id) for request in requests if request.callback.source == "fleet"
    }
    assert len(json.loads(say("refused", "--limit", "1", "--json").out)) == 1
    assert json.loads(say("refused", "--since", "2024-05-02", "--json").out) == []
    (only,) = json.loads(say("refused", "--reason", "signature_missing", "--json").out)
    assert only["reason"] == "signature_missing"


def test_an_explanation_names_the_step_the_mistake_and_what_to_do(say: Say, redis_url: str, folder: Path) -> None:
    refused = a_refused()
    keep(redis_url, a_refused("otp"), refused)
    configure(folder, WRONG, f"'{SECRET}'")
    said = say("refused", "explain", str(refused.callback.id))
    assert said.code == 0
    assert re.search(r"^  refused  secret +.*none of 2 secrets made it \(signature_wrong\)$", said.out, re.MULTILINE)
    assert said.out.endswith(
        "\nsecret 2 would do without the quotation marks around it: correct it in the configuration\n"
        "Once it is corrected, `callbox refused replay --source fleet` takes in what proves itself\n"
    )
    for private in (SECRET, WRONG, "3725555555", "Grüße", "a=1"):
        assert private not in said.out
    document = json.loads(say("refused", "explain", "last", "--json", "--source", "fleet").out)
    assert document["request"]["id"] == str(refused.callback.id)
    assert (document["refused"], len(document["mistakes"])) == ("signature_wrong", 1)
    assert [step["step"] for step in document["steps"]] == ["method", "address", "header", "form", "secret"]

    configure(folder, WRONG, SECRET)
    said = say("refused", "explain", "last", "--source", "fleet")
    assert "secret 2 of 2 made it" in said.out
    assert said.out.endswith("It proves itself now: take it in by `callbox refused replay --source fleet`\n")


def test_without_a_mistake_that_explains_it_the_secret_is_another_one(say: Say, redis_url: str) -> None:
    keep(redis_url, a_refused())
    assert "compare the secrets of fleet" in say("refused", "explain", "last").out


def test_each_reason_has_a_remedy() -> None:
    beside = {"address_not_allowed", "address_unknown", "token_missing", "wrong_method"}
    assert REMEDIES.keys() == {*get_args(Reason), *beside}


def test_what_cannot_be_explained_is_an_error_in_one_line(say: Say, redis_url: str) -> None:
    keep(redis_url, a_refused("gone"))
    unknown = say("refused", "explain", str(new_id(NOW)))
    assert (unknown.code, unknown.err.count("\n")) == (1, 1)
    assert "is not in the quarantine: see `callbox refused list`" in unknown.err
    assert say("refused", "explain", "first").code == 2
    gone = say("refused", "explain", "last")
    assert (gone.code, gone.err) == (1, "callbox: gone refused it, and is not in callbox.toml any more\n")
    assert say("refused", "replay", "--source", "gone").code == 2


def test_a_replay_takes_in_what_proves_itself_now_once_and_leaves_the_rest(
    say: Say, redis_url: str, folder: Path
) -> None:
    proven, other = [a_refused() for _ in range(40)], a_refused(headers={})
    keep(redis_url, *proven, other, a_refused("otp"))
    assert say("refused", "replay", "--source", "fleet").out.splitlines()[-1] == (
        "0 are in the inbox, 41 stay: see `callbox refused explain last --source fleet`"
    )
    configure(folder, WRONG, SECRET)
    dry = json.loads(say("refused", "replay", "--source", "fleet", "--dry", "--json").out)
    assert dry == {"dry": True, "source": "fleet", "proven": 40, "refused": {"signature_missing": 1}}
    assert appended(redis_url) == []
    said = say("refused", "replay", "--source", "fleet")
    assert (said.code, said.out.splitlines()[-1]) == (
        0,
        "40 are in the inbox, 1 stay: see `callbox refused explain last --source fleet`",
    )
    assert sorted(appended(redis_url)) == sorted(refused.callback.id for refused in proven)
    assert [row["reason"] for row in json.loads(say("refused", "fleet", "--json").out)] == ["signature_wrong"]
    again = json.loads(say("refused", "replay", "--source", "fleet", "--json").out)
    assert (again["proven"], len(appended(redis_url))) == (0, 40)
    assert len(json.loads(say("refused", "otp", "--json").out)) == 1
    with inbox.connect(redis_url, 5.0) as shard:
        snapshot = inbox.take_snapshot(shard)
    assert (snapshot.ledger["fleet"]["appended"], snapshot.difference) == (40, 0)
    assert snapshot.quarantine["fleet"]["requests"] == 1


def test_a_replay_that_is_interrupted_before_it_removes_repeats_and_loses_nothing(
    say: Say, redis_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same id is appended again, which the drain counts as a repeat."""
    requests = [a_refused() for _ in range(3)]
    keep(redis_url, *requests)
    configure(folder, SECRET)

    def fail(*_: object) -> None:
        raise RedisUnavailable("Redis does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(Quarantine, "remove", fail)
        assert say("refused", "replay", "--source", "fleet").code == 1
    assert "3 are in the inbox" in say("refused", "replay", "--source", "fleet").out
    ids = [refused.callback.id for refused in requests]
    assert sorted(appended(redis_url)) == sorted(ids + ids)
    assert json.loads(say("refused", "--json").out) == []


def test_while_the_inbox_is_full_a_replay_leaves_everything(say: Say, redis_url: str, folder: Path) -> None:
    keep(redis_url, a_refused())
    configure(folder, SECRET)
    with inbox.connect(redis_url, 5.0) as shard:
        inbox.retire(shard)
    failed = say("refused", "replay", "--source", "fleet")
    assert failed.code == 1
    assert "this shard of the inbox is retired" in failed.err
    assert len(json.loads(say("refused", "--json").out)) == 1


def test_the_bounds_of_a_command_are_not_those_of_the_ingresses(
    say: Say, redis_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(redis_url, *(a_refused() for _ in range(5)), a_refused(headers={}), a_refused(headers={}))
    configure(folder, SECRET)
    monkeypatch.setenv("CALLBOX_QUARANTINE_REQUESTS", "1")
    say("refused", "replay", "--source", "fleet")
    assert len(json.loads(say("refused", "--json").out)) == 2


def test_what_comes_during_a_replay_is_left_for_the_next(redis_url: str, folder: Path, shard: Shard) -> None:
    configure(folder, SECRET)
    configuration = config.load(folder / "callbox.toml", {"CALLBOX_REDIS_URL": redis_url}, PROVIDERS)
    keep(redis_url, *(a_refused() for _ in range(20)))
    replay = Replay(Quarantine(shard), Reproof(configuration, PROVIDERS), configuration.settings)
    for _ in replay.run("fleet", dry=False):
        keep(redis_url, a_refused())
    assert replay.counts == {None: 20}
    assert len(list(Quarantine(shard).newest("fleet"))) == 2


@pytest.fixture
def shard(redis_url: str) -> Shard:
    return inbox.connect(redis_url, 5.0)


@pytest.mark.parametrize("words", [("flet",), ("repaly",), ("list", "flet"), ("explain", "last", "--source", "flet")])
def test_a_source_that_does_not_exist_is_a_mistake_and_one_that_is_no_more_is_not(
    say: Say, redis_url: str, words: tuple[str, ...]
) -> None:
    keep(redis_url, a_refused("gone"))
    said = say("refused", *words)
    assert (said.code, said.err.count("there is no source")) == (2, 1)
    assert "gone" in say("refused", "gone").out


def test_list_is_what_the_group_does_by_itself(say: Say) -> None:
    assert "list" in say("refused", "--help").out
    with pytest.raises(SystemExit):
        main(["refused", "explain"])
