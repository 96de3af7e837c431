"""The commands of a second terminal, against a running system."""

import json
import signal
import subprocess
from typing import Any
from uuid import UUID

import msgspec
import pytest

from shared import inbox
from shared.callback import TEST_HEADER, Request
from shared.providers import PROVIDERS
from tests.conftest import wait_until
from tests.keys import INBOX
from tests.pipeline.conftest import CALLBOX, SECONDS, Running, Start, callbox, clean_environment, http


def test_status_adds_up(system: Running) -> None:
    system.send(*(system.request("open", "mo") for _ in range(3)))
    system.wait_drained()
    status = json.loads(system.command("status", "--json").stdout)
    keys = {"accepted", "stored", "duplicates", "dead_letters", "ignored", "pending", "spooled"}
    other = {"lost", "setback", "ledger_since", "redis", "postgresql", "open_dead_letters", "quarantine"}
    assert set(status) == {*keys, *other, "oldest_pending_seconds", "difference", "held", "sources"}
    assert (status["redis"], status["postgresql"]) == ("ok", "ok")
    assert (status["difference"], status["held"]) == (0, {})
    for account in (status, *status["sources"].values()):
        parts = ("stored", "duplicates", "dead_letters", "ignored", "pending")
        assert account["accepted"] == sum(account[part] for part in parts)
    assert status["accepted"] == len(system.query("SELECT FROM callbacks"))
    assert (status["pending"], status["oldest_pending_seconds"]) == (0, 0.0)
    text = system.command("status").stdout.partition("\n\n")[0]
    assert {line.split()[0] for line in text.splitlines()[2:]} == {*status["sources"], "all"}


def test_a_source_that_is_not_held_cannot_be_resumed(system: Running) -> None:
    done = system.command("resume", "open", code=1)
    assert done.stderr == "callbox: open is not held, no source is: see `callbox status`\n"
    with inbox.connect(system.addresses["CALLBOX_REDIS_URL"], 5.0) as client:
        assert inbox.Holds(client).read().waived == {}, "or the next fault would not be held"


def test_status_names_a_difference_and_what_is_held(start: Start) -> None:
    up = start("--workers", "0", "--no-flower")
    up.send(up.request("open", "mo"))
    with inbox.connect(up.addresses["CALLBOX_REDIS_URL"], 5.0) as client:
        client.xadd(INBOX, {"s": "open", "c": b""})
        inbox.Holds(client).hold("open", inbox.Hold("its parser failed", 0.0))
    said = up.command("status").stdout
    assert "the inbox holds 1 more of open than the ledger has" in said
    assert "open is held: its parser failed" in said
    assert "fleet is not held, only open: see" in up.command("resume", "fleet", code=1).stderr
    assert up.command("resume", "open").stdout == "open is drained again\n"
    assert json.loads(up.command("status", "--json").stdout)["held"] == {}


def test_status_names_what_is_away_and_shows_the_rest(start: Start) -> None:
    up = start("--workers", "0", "--no-flower")
    up.send(up.request("open", "mo"))
    without_postgres = callbox("status", cwd=up.folder, CALLBOX_DATABASE_URL="postgresql://127.0.0.1:1/x")
    assert without_postgres.returncode == 1
    assert "PostgreSQL does not answer" in without_postgres.stderr
    assert without_postgres.stdout.splitlines()[2].split()[:2] == ["open", "1"]
    without_redis = callbox("status", "--json", cwd=up.folder, CALLBOX_REDIS_URL="redis://127.0.0.1:1/0")
    assert (without_redis.returncode, len(without_redis.stderr.splitlines())) == (1, 1)
    said = json.loads(without_redis.stdout)
    assert (said["accepted"], said["open_dead_letters"], said["postgresql"]) == (None, 0, "ok")


def test_what_send_made_is_marked_asked_about_and_can_be_removed(start: Start) -> None:
    up = start("--no-flower")
    up.command("send", "open", "--count", "4")
    up.command("send", "support", "--count", "2")
    up.wait_drained()
    marked = "SELECT test, count(*) AS count FROM {} GROUP BY test"
    assert up.query(marked.format("callbacks")) == [{"test": True, "count": 6}]
    assert up.query(marked.format("deliveries")) == [{"test": True, "count": 3}]
    for table in ("inbound_messages", "delivery_reports"):
        assert up.query(marked.format(table)) == [{"test": True, "count": 3}]

    real = up.request("open", "mo")
    unmarked = {name: value for name, value in real.headers.items() if name != TEST_HEADER}
    up.send(msgspec.structs.replace(real, headers=unmarked))
    up.wait_drained()
    words = [CALLBOX, "send", "open"]
    for answer, code in (("", 1), ("n\n", 1), ("y\n", 0)):
        done = subprocess.run(
            words, cwd=up.folder, env=clean_environment(), input=answer, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == code, done.stderr
        assert "open has stored real events" in done.stderr
    up.command("send", "open", "--yes")
    up.command("send", "support")
    up.wait_drained()

    assert "nothing was removed" in up.command("remove-tests", "--dry").stdout
    assert "callbacks" in up.command("remove-tests", "--source", "support").stdout
    assert up.query("SELECT DISTINCT source FROM callbacks WHERE test") == [{"source": "open"}]
    up.command("remove-tests")
    assert up.command("remove-tests").stdout == "there are no tests\n"
    for table in ("callbacks", "inbound_messages"):
        assert up.query(marked.format(table)) == [{"test": False, "count": 1}]
    assert up.query("SELECT FROM deliveries") == []


@pytest.mark.parametrize("kind", ["mo", "dr"])
@pytest.mark.parametrize("source", [*(f"every-{provider}" for provider in PROVIDERS), "open"])
def test_send_plays_every_provider(system: Running, source: str, kind: str) -> None:
    done = system.command("send", source, "--kind", kind, "--count", "3")
    ids = [line.removeprefix("accepted ") for line in done.stdout.splitlines() if line.startswith("accepted ")]
    assert len(ids) == 3
    system.wait_drained()
    listed = ",".join(f"'{UUID(id)}'" for id in ids)
    found = system.query(f"SELECT outcome FROM callbacks WHERE id IN ({listed})")
    assert [row["outcome"] for row in found] == ["stored"] * 3


def test_send_keeps_to_a_rate_and_sums_up(system: Running) -> None:
    done = system.command("send", "open", "--count", "60", "--rate", "200")
    assert "60 of 60 accepted" in done.stdout
    assert "accepted 0" not in done.stdout.replace("60 of 60 accepted", "")


def test_send_says_what_was_not_accepted(system: Running) -> None:
    (system.folder / "other.toml").write_text('[sources.fleet]\nprovider = "emnify"\nsecrets = ["a wrong secret"]\n')
    done = system.command("send", "fleet", "--count", "2", "--config", "other.toml", code=1)
    assert f"not accepted: 2 × HTTP 401 ({system.url}): the secrets of the source differ" in done.stdout
    assert "2 of 2 callbacks were not accepted" in done.stderr
    (system.folder / "more.toml").write_text('[sources.unknown]\nprovider = "emnify"\nunsigned = true\n')
    done = system.command("send", "unknown", "--config", "more.toml", code=1)
    assert f"not accepted: 1 × HTTP 404 ({system.url}): the running ingress does not know the source" in done.stdout
    done = system.command("send", "nobody", code=2)
    assert "there is no source nobody" in done.stderr


def test_show_has_all_of_a_callback(system: Running) -> None:
    request = system.request("support", "mo")
    (id,) = system.send(request)
    system.wait_drained()
    text = system.command("show", id, "--reveal").stdout
    assert request.body.decode() in text
    for said in (id, "stored", "inbound message", "POST /callbacks/support", "x-messente-signature"):
        assert (said in text) == (said != "x-messente-signature")
    shown = json.loads(system.command("show", id, "--json").stdout)
    assert (shown["callback"]["outcome"], len(shown["messages"]), shown["reports"]) == ("stored", 1, [])
    assert "traceparent" not in shown["callback"]
    (private,) = system.query(f"SELECT sender, text FROM inbound_messages WHERE callback_id = '{id}'")
    for said in (system.command("show", id).stdout, json.dumps(shown), system.command("find", id[:8]).stdout):
        assert private["sender"] not in said
        assert private["text"] not in said
    assert private["text"] in system.command("find", id, "--reveal").stdout


def test_show_names_what_a_duplicate_repeats_and_what_differs_in_a_conflict(system: Running) -> None:
    body = b'{"id": 777001, "organisation": {"id": 1}, "payload": "pay 10"}'
    ids = []
    for sent in (body, body, body.replace(b"10", b"99")):
        ids += system.send(Request(method="POST", path="/callbacks/open", body=sent))
        system.wait_drained()
    first, second, third = ids
    (repeat,) = json.loads(system.command("show", second, "--json").stdout)["repeats"]
    assert (repeat["stored_by"], repeat["message_id"], repeat["differences"]) == (first, "777001", [])
    assert f"repeats message 777001, which {first} brought at" in system.command("show", second).stdout
    (repeat,) = json.loads(system.command("show", third, "--json", "--reveal").stdout)["repeats"]
    assert {"field": "text", "stored": "pay 10", "repeated": "pay 99"} in repeat["differences"]
    hidden = system.command("show", third).stdout
    assert "not shown" in hidden
    assert "pay 99" not in hidden
    assert json.loads(system.command("show", first, "--json").stdout)["repeats"] == []


def test_find_shows_what_became_of_a_message_and_says_when_there_is_nothing(system: Running) -> None:
    request = system.request("support", "dr")
    (id,) = system.send(request)
    system.wait_drained()
    found = json.loads(system.command("find", id, "--json", "--reveal").stdout)
    (delivery,) = found["deliveries"]
    for text in (delivery["message_id"], delivery["recipient"], delivery["recipient"][3:]):
        assert id in {row["id"] for row in json.loads(system.command("find", text, "--json").stdout)["callbacks"]}
    shown = system.command("find", delivery["message_id"]).stdout
    assert delivery["status"] in shown
    assert delivery["recipient"] not in shown
    assert "nothing in PostgreSQL has this number or id" in system.command("find", "no-such-id", code=1).stderr
    assert "it is empty" in system.command("find", " ", code=2).stderr


def test_sql_opens_psql_with_the_right_address_and_no_password_in_sight(system: Running) -> None:
    done = system.command("sql", "-A", "-t", "-c", "SELECT count(*) > 0 FROM schema_migrations")
    assert done.stdout == "t\n"
    assert "psql" in system.command("sql", "--version").stdout
    asked = "\\! tr '\\0' ' ' < /proc/$PPID/cmdline"
    line = subprocess.run(
        [CALLBOX, "sql"], cwd=system.folder, input=asked, capture_output=True, text=True, env=clean_environment()
    ).stdout
    assert "dbname=callbox" in line
    assert "password" not in line
    assert system.command("sql", "-c", "SELECT nonsense", code=1).stderr.startswith("ERROR")


def test_show_of_nothing_says_where_it_may_be(system: Running) -> None:
    done = system.command("show", "01a20280-ab2c-7c9e-b91d-65519fbebbaf", code=1)
    assert "it waits in the inbox" in done.stderr
    assert system.command("show", "no-id", code=2).stdout == ""


def test_dead_letters_are_listed_and_shown(system: Running) -> None:
    path = f"/callbacks/otp/{system.sources['otp'].token}"
    assert http(system.url + path, "POST", b"phone=1")[0] == 200
    system.wait_drained()
    dead_letters = json.loads(system.command("dead-letters", "list", "--json", "--source", "otp").stdout)
    assert {dead_letter["state"] for dead_letter in dead_letters} == {"open"}
    newest = dead_letters[0]
    listed = system.command("dead-letters", "list").stdout
    assert newest["callback_id"] in listed
    assert newest["reason"] in listed
    assert "phone=1" not in system.command("dead-letters", "show", str(newest["id"])).stdout
    shown = system.command("dead-letters", "show", str(newest["id"]), "--reveal").stdout
    assert "phone=1" in shown
    assert newest["reason"] in shown
    assert "no replayed dead letters" in system.command("dead-letters", "list", "--state", "replayed").stdout
    by_reason = json.loads(system.command("dead-letters", "list", "--json", "--reason", newest["reason"]).stdout)
    assert {dead_letter["reason"] for dead_letter in by_reason} == {newest["reason"]}
    assert json.loads(system.command("dead-letters", "list", "--json", "--since", "2999-01-01").stdout) == []
    assert json.loads(system.command("dead-letters", "list", "--json", "--until", "2001-01-01").stdout) == []
    assert "there is no dead letter 999999" in system.command("dead-letters", "show", "999999", code=1).stderr


def test_dead_letters_are_replayed_after_a_fix_dry_first(system: Running) -> None:
    request = system.request("open", "mo")
    broken = (Request(method="POST", path=request.path, body=body) for body in (b"{", b"[", b"{"))
    first, second, _ = system.send(*broken)
    system.wait_drained()
    listed = json.loads(system.command("dead-letters", "list", "--json", "--source", "open").stdout)
    ids = {dead_letter["callback_id"]: str(dead_letter["id"]) for dead_letter in listed}
    reasons = {dead_letter["callback_id"]: dead_letter["reason"] for dead_letter in listed}
    hexed = request.body.hex()
    system.query(f"UPDATE callbacks SET body = '\\x{hexed}' WHERE id IN ('{first}', '{second}') RETURNING id")

    def replayed(*words: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(system.command("dead-letters", "replay", "--json", *words).stdout)
        return answer

    became = [{"reason": reasons[first], "became": "stored", "letters": 1}]
    dry = replayed(ids[first], "--dry")
    assert dry == {"dry": True, "callbacks": 1, "letters": became, "closed": {}}
    assert json.loads(system.command("show", first, "--json").stdout)["callback"]["outcome"] == "dead"
    assert replayed(ids[first]) == {**dry, "dry": False}
    assert replayed(ids[first]) == {"dry": False, "callbacks": 0, "letters": [], "closed": {ids[first]: "replayed"}}
    assert json.loads(system.command("show", first, "--json").stdout)["callback"]["outcome"] == "stored"
    text = system.command("dead-letters", "replay", "--source", "open", "--rate", "1000").stdout
    assert "duplicate" in text
    assert "still dead: " in text
    assert "2 callbacks replayed" in text
    total = json.loads(system.command("status", "--json").stdout)
    assert total["pending"] == 0
    assert total["stored"] == len(system.query("SELECT FROM callbacks WHERE outcome = 'stored'"))
    assert total["dead_letters"] == len(system.query("SELECT FROM callbacks WHERE outcome = 'dead'"))


def test_dead_letters_are_discarded_dry_first(system: Running) -> None:
    system.send(Request(method="POST", path="/callbacks/open", body=b"{"))
    system.wait_drained()
    dry = system.command("dead-letters", "discard", "--source", "open", "--dry").stdout
    assert "dry run, nothing was discarded" in dry
    newest = json.loads(system.command("dead-letters", "list", "--json", "--source", "open").stdout)[0]
    assert "discarded" in system.command("dead-letters", "discard", str(newest["id"])).stdout
    assert f"{newest['id']} is discarded already" in system.command("dead-letters", "discard", str(newest["id"])).stdout
    listed = json.loads(system.command("dead-letters", "list", "--json", "--source", "open").stdout)
    assert newest["id"] not in {dead_letter["id"] for dead_letter in listed}
    assert "no open dead letters match" in system.command("dead-letters", "discard", "--until", "2001-01-01").stdout


def test_an_interrupted_replay_says_so_and_leaves_whole_callbacks(system: Running) -> None:
    ids = system.send(*(Request(method="POST", path="/callbacks/open", body=b"{") for _ in range(9)))
    system.wait_drained()
    listed = ",".join(f"'{UUID(id)}'" for id in ids)
    words = ["dead-letters", "replay", "--reason", "not JSON", "--source", "open"]
    command = subprocess.Popen(
        [CALLBOX, *words, "--rate", "2"],
        cwd=system.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        # Whoever runs the tests in the background may have them ignore Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    tried = f"SELECT FROM dead_letters WHERE attempts = 2 AND callback_id IN ({listed})"
    wait_until(lambda: system.query(tried), "a try", SECONDS)
    command.send_signal(signal.SIGINT)
    said, error = command.communicate(timeout=SECONDS)
    assert (command.returncode, len(error.splitlines())) == (1, 1), error
    assert "interrupted" in error
    assert "still dead" in said
    assert 0 < len(system.query(tried)) < 9


@pytest.mark.parametrize("command", ["replay", "discard"])
def test_replay_and_discard_say_what_they_need(system: Running, command: str) -> None:
    assert "choose some" in system.command("dead-letters", command, code=2).stderr
    done = system.command("dead-letters", command, "999999", code=1)
    assert (len(done.stderr.splitlines()), done.stdout) == (1, "")
    assert "there is no dead letter 999999" in done.stderr
    assert system.command("dead-letters", command, "one", code=2).stdout == ""


def test_conflicts_are_listed_with_what_is_stored_instead(system: Running) -> None:
    body = b'{"id": 424242, "organisation": {"id": 1}, "payload": "pay 10"}'
    sent = [Request(method="POST", path="/callbacks/open", body=each) for each in (body, body.replace(b"10", b"99"))]
    first, second = system.send(*sent)
    system.wait_drained()
    listed = json.loads(system.command("conflicts", "--json", "--source", "open").stdout)
    (found,) = [each for each in listed if each["message_id"] == "424242"]
    assert {found["callback_id"], found["stored_by"]} == {first, second}
    assert "424242" in system.command("conflicts").stdout
    assert system.command("conflicts", "--source", "fleet").stdout == "no conflicts\n"
    status = json.loads(system.command("status", "--json").stdout)
    assert status["sources"]["open"]["oddities"]["conflict"] == len(listed)
    assert "conflict" in system.command("status").stdout


def test_migrate_has_nothing_left_to_do(system: Running) -> None:
    assert "up to date" in system.command("migrate").stdout


def test_check_finds_a_system_that_keeps_its_promises(system: Running) -> None:
    done = system.command("check")
    levels = {line.split()[0] for line in done.stdout.splitlines()}
    assert levels == {"good", "risky"}
    assert "source open: accepts anyone's callbacks" in done.stdout


def test_without_a_running_system_commands_say_so_in_one_line(system: Running) -> None:
    nowhere = {"CALLBOX_REDIS_URL": "redis://127.0.0.1:1/0", "CALLBOX_DATABASE_URL": "postgresql://127.0.0.1:1/x"}
    dead_letters = (["dead-letters", "list"], ["dead-letters", "replay", "--all"], ["dead-letters", "discard", "--all"])
    for words in (["status"], ["show", "01a20280-ab2c-7c9e-b91d-65519fbebbaf"], ["migrate"], *dead_letters):
        done = callbox(*words, cwd=system.folder, **nowhere)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
        assert "does not answer" in done.stderr


def test_help_lists_the_commands(system: Running) -> None:
    text = system.command("--help").stdout
    for command in ("up", "migrate", "check", "send", "status", "show", "conflicts", "dead-letters"):
        assert f"\n  {command} " in text


def test_an_empty_status_is_a_status(system: Running, redis_url: str) -> None:
    done = callbox("status", "--json", cwd=system.folder, CALLBOX_REDIS_URL=redis_url)
    status = json.loads(done.stdout)
    assert (status["accepted"], status["sources"]) == (0, {})
